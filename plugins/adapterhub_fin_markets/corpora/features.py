"""Make rows of features: numbers and a prompt, with the return that followed as their target."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any, Final

import numpy as np
import pyarrow as pa
from datasets import Dataset

from adapterhub_fin.plugin import BadCorpus, CorpusImplementation, Rows, load_corpus
from adapterhub_fin_markets.corpora.features_options import MarketFeaturesOptions
from adapterhub_fin_markets.corpora.latest_texts import LatestTexts
from adapterhub_fin_markets.features.cross_section import across
from adapterhub_fin_markets.features.prompts import numerals, prompt
from adapterhub_fin_markets.features.scaling import fit_scaler
from adapterhub_fin_markets.features.table import Features, compute_features
from adapterhub_fin_markets.features.targets import Targets, direction_targets, directions
from adapterhub_fin_markets.prices.findings import LATER
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.tables import read_prices

LABELS: Final = ("down", "flat", "up")


class MarketFeatures(CorpusImplementation):
    """Read prices, and give a row for each ticker and decision that has a target and any feature."""

    def __init__(self, options: MarketFeaturesOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        options = self.options
        prices = self._prices()
        table = compute_features(prices, options.features)
        made = direction_targets(prices, options.horizon, clip=options.clip)
        decided = week_ends(prices) if options.every == "week" else np.ones(len(prices), bool)
        present = decided[:, None] & np.isfinite(made.volatility) & np.isfinite(table.stacked()).any(2)
        if prices.members is not None:
            present &= prices.members
        there = present if options.rows == "all" else present & np.isfinite(made.targets)
        if not there.any():
            raise BadCorpus("corpus market-features: no bar has a feature and a target: give more bars")
        bars = decided[:, None] & np.isfinite(prices.close)
        notes = {
            f"repaired{' with what came later' if kind in LATER else ''}, {kind}": count
            for kind, count in prices.repairs.items()
        }
        notes["decisions without a target"] = int((bars & ~np.isfinite(made.targets)).sum())
        read = {"universe": prices.universe}
        texts = None
        if options.texts is not None:
            documents = load_corpus(options.texts.name, options.texts.options)
            latest = LatestTexts(documents, options.texts_within, options.texts_most)
            texts, there = self._texts(latest, prices, made, there, notes)
            notes.update({f"texts: {note}": count for note, count in documents.notes.items()})
            read.update({f"texts: {what}": fact for what, fact in documents.read.items()})
        values, available, fitted = self._scaled(table, present, there)
        columns = self._columns(values, texts, prices, table, made, there)
        columns["available_at"] = pa.array(available, pa.timestamp("us", "UTC"))
        columns["label_known_at"] = pa.array(made.label_known_at[there], pa.timestamp("us", "UTC"))
        return Rows(Dataset(pa.table(columns)), notes=notes, fitted_before=fitted, read=read)

    def _prices(self) -> Prices:
        options = self.options
        prices = read_prices(options.path.expanduser(), calendar=options.calendar, repair=options.repair)
        if "interpolated" in prices.repairs:
            raise BadCorpus(
                f"corpus market-features: {options.path} was stored with interpolated bars emptied, and which "
                "those are the bars after them tell: remove them from its table, and store it again"
            )
        if np.isnan(prices.open).all():
            raise BadCorpus("corpus market-features: the prices have no opens, which targets need: add their column")
        return prices

    def _texts(
        self, latest: LatestTexts, prices: Prices, made: Targets, there: np.ndarray, notes: dict[str, int]
    ) -> tuple[list[str], np.ndarray]:
        """Return the text of each decision that has one, and which those are, (times, tickers)."""
        latest.check_tickers(prices.tickers)
        chosen = [
            latest.before(prices.tickers[ticker], made.decided_at[row])
            for row, ticker in zip(*np.nonzero(there), strict=True)
        ]
        notes["decisions without a text"] = chosen.count(None)
        if notes["decisions without a text"] == len(chosen):
            raise BadCorpus(
                f"corpus market-features: no decision has a text of the {self.options.texts_within} before it: give "
                "texts of the prices' years, or a longer texts_within"
            )
        with_text = there.copy()
        with_text[there] = [text is not None for text in chosen]
        return [text for text in chosen if text is not None], with_text

    def _scaled(
        self, table: Features, present: np.ndarray, there: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, datetime | None]:
        """Return the scaled values (rows, features), when each row was available, and when the scaler was fitted.

        A row's own values are known at its close, and the decision is a microsecond later. What a scaler wrote could be
        read by nobody before it was fitted. It is fitted to all that was `present`, with a target or not: whether there
        is a target is known later.
        """
        options = self.options
        at = table.known_at[there]
        if options.among == "tickers":
            compared = across(table, options.scale)
            return compared.stacked()[there], np.maximum(at, compared.known_at[there]), None
        assert options.fitted_before is not None, "the options have it where among is history"
        fitted = datetime.combine(options.fitted_before, time(), UTC)
        limit = np.datetime64(fitted.replace(tzinfo=None), "us")
        stacked = table.stacked()
        scaler = fit_scaler(stacked[present & (table.known_at < limit)], table.names)
        return scaler.scale(stacked[there], options.scale), np.maximum(at, limit), fitted

    def _columns(
        self,
        values: np.ndarray,
        texts: list[str] | None,
        prices: Prices,
        table: Features,
        made: Targets,
        there: np.ndarray,
    ) -> dict[str, Any]:
        options = self.options
        rows, tickers = np.nonzero(there)
        names = [prices.tickers[ticker] for ticker in tickers]
        if texts is None:
            texts = self._prompts(values, table.names)
        targets = made.targets[there]
        columns: dict[str, Any] = (
            {"text": texts}
            if options.form == "text"
            else {"messages": [[{"role": "user", "content": text}] for text in texts]}
        )
        columns["features"] = pa.array([[None if np.isnan(v) else v for v in row] for row in values.tolist()])
        columns["target"] = pa.array(targets, from_pandas=True)
        if options.flat_below is not None:
            numbers = directions(targets, options.flat_below).tolist()
            columns["label"] = [
                None if np.isnan(target) else LABELS[number] for target, number in zip(targets, numbers, strict=True)
            ]
        columns["group"] = names
        columns["origin"] = [f"{name}, {prices.closes_at[row]}" for name, row in zip(names, rows, strict=True)]
        return columns

    def _prompts(self, values: np.ndarray, names: Sequence[str]) -> list[str]:
        options = self.options
        question = (
            f"Will the price rise or fall over the next {options.horizon} bars? Answer down, flat or up."
            if options.answer == "label"
            else f"How far will the price move over the next {options.horizon} bars, in standard deviations?"
        )
        written = numerals(values, options.scale, options.digits).tolist()
        return [prompt(names, row, options.scale, options.among, question) for row in written]


def week_ends(prices: Prices) -> np.ndarray:
    """Mark the last bar of each week, Monday to Sunday, of the panel, (times,).

    The last week is left out: a later bar may still belong to it.
    """
    days = prices.closes_at.astype("datetime64[D]") if prices.days is None else prices.days
    weeks = (days.astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    return np.append(weeks[1:] != weeks[:-1], False) if len(weeks) else np.zeros(0, bool)
