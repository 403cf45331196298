"""Prices of two tickers with dated texts, and recipes of backtests on them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class PairMaterial:
    """Hold a folder with prices.csv, two tickers from 2020 on, and news.csv, a text of each on most days."""

    folder: Path
    days: tuple[date, ...] = tuple(date(2020, 1, 1) + timedelta(days=day) for day in range(60))
    phrases: tuple[str, ...] = ("profit rose.", "profit fell.", "meets in May.")

    def write_prices(self) -> None:
        """Write random walks."""
        import numpy as np

        steps = np.random.default_rng(0).normal(0, 0.02, (len(self.days), 2))
        closes = 100 * np.cumprod(1 + steps, 0)
        with (self.folder / "prices.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["date", "ticker", "open", "high", "low", "close", "volume"])
            for row, day in enumerate(self.days):
                for column, ticker in enumerate(("AAA", "BBB")):
                    opened = closes[row - 1, column] if row else 100.0
                    close = closes[row, column]
                    table.writerow([day, ticker, opened, max(opened, close), min(opened, close), close, 1000])

    def write_texts(self, dated: Callable[[date], str]) -> None:
        """Write a text of each ticker on each of forty days, published when `dated` says."""
        with (self.folder / "news.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["published", "ticker", "headline"])
            for number, day in enumerate(self.days[10:50]):
                for column, ticker in enumerate(("AAA", "BBB")):
                    phrase = self.phrases[(number * (column + 1)) % 3]
                    table.writerow([dated(day), ticker, f"Firm {number + column}: {phrase}"])

    def recipe(self, signals: Mapping[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
        """Return a recipe whose adapter is acme/tone, with further keys of `signals` and other parts."""
        texts = {"name": "news", "path": str(self.folder / "news.csv"), "text": "headline", "group": "ticker"}
        return {
            "name": "pair",
            "signals": {"adapter": "acme/tone", "texts": {**texts, "published": "published"}, **(signals or {})},
            "prices": {"path": str(self.folder / "prices.csv"), "calendar": "24/7"},
            "rules": {"positions": "long-short", "size": "equal", "hold": "flat"},
            **parts,
        }

    def table_recipe(self, signals: Any, **parts: Any) -> dict[str, Any]:
        """Return a recipe of a table of signals, which is written."""
        from adapterhub_fin_markets.signals.table import write_signals

        write_signals(signals, self.folder / "signals.parquet")
        changed = self.recipe(**parts)
        changed["signals"] = {"path": str(self.folder / "signals.parquet"), "texts": changed["signals"]["texts"]}
        return changed


@pytest.fixture
def pair(dated_tone: Any, tmp_path: Path) -> PairMaterial:
    """Return written material of two tickers, whose texts are published at half past nine."""
    material = PairMaterial(tmp_path)
    material.write_prices()
    material.write_texts(lambda day: f"{day}T09:30:00Z")
    return material
