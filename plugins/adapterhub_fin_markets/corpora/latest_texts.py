"""Choose the texts that a decision on a ticker could have read: its latest ones, available strictly before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from adapterhub_fin.plugin import BadCorpus, Offset, Rows
from adapterhub_fin_markets.prices.timing import count_usable

COLUMNS: Final = ("text", "group", "available_at")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LatestTexts:
    """Hold the texts of each ticker by the instant from which they could be read."""

    def __init__(self, rows: Rows, within: str, most: int) -> None:
        """Read the rows of a corpus, whose group is the ticker.

        Raises BadCorpus where a column is missing, and where what the texts hold was fitted to some of them.
        """
        if lacking := [name for name in COLUMNS if name not in rows.table.column_names]:
            raise BadCorpus(
                f"corpus market-features: its texts have no {' and no '.join(lacking)}: choose a corpus of dated texts "
                "with the ticker as group, such as news with published and group"
            )
        if rows.fitted_before is not None:
            raise BadCorpus("corpus market-features: its texts were fitted to some of them: choose a corpus as it was")
        self._within = np.timedelta64(Offset(within).after([EPOCH])[0] - EPOCH, "us")
        self._most = most
        dated: dict[str, list[tuple[np.datetime64, str]]] = defaultdict(list)
        for row in rows.table.select_columns(list(COLUMNS)):
            dated[str(row["group"])].append(
                (np.datetime64(row["available_at"].replace(tzinfo=None), "us"), row["text"])
            )
        self._texts: dict[str, list[str]] = {}
        self._instants: dict[str, np.ndarray] = {}
        for ticker, pairs in dated.items():
            pairs.sort(key=lambda pair: pair[0])
            self._instants[ticker] = np.array([at for at, _ in pairs])
            self._texts[ticker] = [text for _, text in pairs]

    def check_tickers(self, tickers: Sequence[str]) -> None:
        """Check that some text is of one of the tickers. Raises BadCorpus, which names some of both."""
        if not set(tickers) & set(self._texts):
            raise BadCorpus(
                f"corpus market-features: no text is of a ticker of the prices: the texts' groups are "
                f"{', '.join(sorted(self._texts)[:5])}, and the tickers {', '.join(sorted(tickers)[:5])}"
            )

    def before(self, ticker: str, decided_at: np.datetime64) -> str | None:
        """Return a ticker's texts from before an instant, newest first, a line each; None where there is none."""
        if ticker not in self._texts:
            return None
        first, end = count_usable(self._instants[ticker], np.array([decided_at - self._within, decided_at]))
        chosen = self._texts[ticker][max(first, end - self._most) : end]
        return "\n".join(reversed(chosen)) or None
