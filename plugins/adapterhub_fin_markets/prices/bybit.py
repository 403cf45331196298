"""Fetch bars from Bybit's public v5 API, which gives them newest first, as texts, a thousand at a time.

https://bybit-exchange.github.io/docs/v5/market/kline
"""

from __future__ import annotations

import time
from typing import Any, Final

import httpx2
import pyarrow as pa

from adapterhub_fin.plugin import Unreachable
from adapterhub_fin_markets.prices.bars import Bars, Part, join_bars
from adapterhub_fin_markets.prices.cells import read_numbers, read_times
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.options import BybitOptions
from adapterhub_fin_markets.prices.source import PriceSourceImplementation, Request

_INTERVALS: Final = {
    "1d": "D", "1min": "1", "3min": "3", "5min": "5", "15min": "15", "30min": "30", "1h": "60", "2h": "120",
    "4h": "240", "6h": "360", "12h": "720",
}  # fmt: skip
_COLUMNS: Final = ("time", "open", "high", "low", "close", "volume")  # and turnover, where an answer has it
_TOO_OFTEN: Final = frozenset([10006, 10018])  # codes of Bybit for too many requests
_LONGEST_WAIT: Final = 60.0  # seconds


class Bybit(PriceSourceImplementation):
    """Fetch bars of perpetuals and spot pairs; a bar's time is its start, UTC."""

    calendar = "24/7"

    def __init__(self, options: BybitOptions) -> None:
        self.options = options
        self._next = 0.0  # of the monotonic clock: when the next request may go

    def fetch(self, request: Request) -> Bars:
        """Return the bars of every symbol. Raises BadPrices for a refusal, Unreachable where nothing answers."""
        if request.interval not in _INTERVALS:
            raise BadPrices(f"bybit has no bars of {request.interval}: choose from {', '.join(_INTERVALS)}")
        with httpx2.Client(base_url=self.options.url, timeout=self.options.timeout) as client:
            pieces = [self._symbol(client, symbol, request) for symbol in request.symbols]
        return join_bars([piece for piece in pieces if len(piece)] or pieces)

    def _symbol(self, client: httpx2.Client, symbol: str, request: Request) -> Bars:
        first, end = (int(moment.timestamp() * 1000) for moment in (request.start, request.end))
        rows: list[list[str]] = []
        while first < end:
            page = self._page(client, symbol, _INTERVALS[request.interval], first, end - 1)
            starts = [int(row[0]) for row in page]
            if any(not first <= start < end for start in starts):
                raise BadPrices(f"bybit answers with bars of {symbol} that were not asked for: try again later")
            rows += page
            if not page:
                break
            end = min(starts)  # the oldest of this page: the next one ends before it
        return _bars(symbol, rows)

    def _page(self, client: httpx2.Client, symbol: str, interval: str, first: int, last: int) -> list[list[str]]:
        asked: dict[str, str | int] = {
            "category": self.options.category,
            "symbol": symbol,
            "interval": interval,
            "start": first,
            "end": last,
            "limit": self.options.page,
        }
        for attempt in range(self.options.tries):
            answer, reason, wait = self._ask(client, asked)
            if answer is not None:
                return _rows(answer, symbol)
            if attempt + 1 < self.options.tries:
                time.sleep(min(_LONGEST_WAIT, max(wait, self.options.wait * 2**attempt)))
        raise Unreachable(f"bybit gave no bars of {symbol} in {self.options.tries} tries ({reason}): try again later")

    def _ask(self, client: httpx2.Client, asked: dict[str, str | int]) -> tuple[dict[str, Any] | None, str, float]:
        """Return the answer, or None with why it is worth another try and how many seconds to wait for it."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + 1 / self.options.per_second
        try:
            response = client.get("/v5/market/kline", params=asked)
        except httpx2.TransportError as error:
            return None, f"{type(error).__name__}: {error}", 0.0
        if response.status_code in (403, 429) or response.status_code >= 500:
            return None, f"HTTP {response.status_code}", _seconds(response.headers.get("retry-after"))
        try:
            answer = response.json()
            code = int(answer["retCode"])
        except (ValueError, TypeError, KeyError) as error:
            raise BadPrices(
                f"bybit answers HTTP {response.status_code} with no JSON of its API: check the URL"
            ) from error
        if code in _TOO_OFTEN:
            return None, str(answer.get("retMsg")), 0.0
        if code:
            raise BadPrices(f"bybit refuses {asked['symbol']}: {answer.get('retMsg')} (code {code}): check the symbol")
        return dict(answer), "", 0.0


def _seconds(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0  # a date: the doubled wait will do


def _rows(answer: dict[str, Any], symbol: str) -> list[list[str]]:
    result = answer.get("result") or {}
    rows = result.get("list")
    if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) < len(_COLUMNS) for row in rows):
        raise BadPrices(f"bybit answers without a list of bars of {symbol}: its API may have changed")
    if rows and result.get("symbol") not in (symbol, None):
        raise BadPrices(f"bybit answers with {result['symbol']} for {symbol}: write the symbol as Bybit does")
    return rows


def _bars(symbol: str, rows: list[list[str]]) -> Bars:
    names = [*_COLUMNS, *(["turnover"] if rows and all(len(row) > len(_COLUMNS) for row in rows) else [])]
    columns = {name: pa.array([str(row[place]) for row in rows], pa.string()) for place, name in enumerate(names)}
    source = f"bybit's {symbol}"
    labels, at = read_times(columns["time"], "time", source)
    fields = {name: read_numbers(columns[name], name, source) for name in names[1:]}
    return Bars((symbol,), at * 0, labels, at, fields, [Part(source, len(rows))])
