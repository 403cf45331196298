"""Fetch bars from Yahoo through yfinance, as Yahoo has them: split-adjusted, with dividends and splits beside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from adapterhub_fin.plugin import Unreachable
from adapterhub_fin_markets.prices.bars import Bars, join_bars
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.form import Form
from adapterhub_fin_markets.prices.options import YahooOptions
from adapterhub_fin_markets.prices.source import PriceSourceImplementation, Request
from adapterhub_fin_markets.prices.tables import read_bars

_INTERVALS: Final = {"1d": "1d", "1h": "1h", "5min": "5m", "15min": "15m", "1min": "1m"}


class Yahoo(PriceSourceImplementation):
    """Fetch bars whose levels reckon with every split, and with no dividend."""

    split_adjusted = True

    def __init__(self, options: YahooOptions) -> None:
        self.options = options
        self.calendar = options.calendar

    def fetch(self, request: Request) -> Bars:
        """Return the bars of every symbol. Raises BadPrices with Yahoo's reason, Unreachable where it is too busy."""
        if request.interval not in _INTERVALS:
            raise BadPrices(f"yahoo has no bars of {request.interval}: choose from {', '.join(_INTERVALS)}")
        with _raising(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # yfinance 1.7 calls what pandas 3.1 deprecates
            answers = [(symbol, self._symbol(symbol, request)) for symbol in request.symbols]
        currencies = {currency for _, (_, currency) in answers}
        if len(currencies) > 1:
            raise BadPrices(f"these symbols are quoted in {', '.join(sorted(map(str, currencies)))}: fetch them apart")
        self.currency = currencies.pop()
        return join_bars([read_bars({symbol: table}, Form())[0] for symbol, (table, _) in answers])

    def _symbol(self, symbol: str, request: Request) -> tuple[Any, str | None]:
        """Return one symbol's bars as a pyarrow table, (bars, columns), and their currency."""
        import yfinance
        from yfinance.exceptions import YFException, YFRateLimitError

        ticker = yfinance.Ticker(symbol)
        try:
            frame = ticker.history(
                start=request.start,
                end=request.end,
                interval=_INTERVALS[request.interval],
                auto_adjust=False,  # when yfinance's adjustment fails, it returns raw prices by the adjusted name
                actions=True,
                repair=False,
                keepna=True,
                timeout=self.options.timeout,
            )
        except YFRateLimitError as error:
            raise Unreachable(
                f"yahoo has had too many requests (HTTP 429) at {symbol}: wait, then try again"
            ) from error
        except YFException as error:
            raise BadPrices(f"yahoo has no prices of {symbol} ({error}): check the symbol and the dates") from error
        except Exception as error:  # of whatever library yfinance asks through
            raise Unreachable(f"yahoo can't be asked for {symbol} ({error!r}): try again later") from error
        if frame.empty:
            raise BadPrices(f"yahoo has no prices of {symbol} in those days: check the symbol and the dates")
        table = pa.Table.from_pandas(frame.rename_axis("Date").reset_index(), preserve_index=False)
        return table, ticker.history_metadata.get("currency")


@contextmanager
def _raising() -> Iterator[None]:
    """Let yfinance raise what it would else log, for a time."""
    import yfinance

    logger = logging.getLogger("yfinance")
    debug, level = yfinance.config.debug, logger.level
    hidden = debug.hide_exceptions
    debug.hide_exceptions = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        debug.hide_exceptions = hidden
        logger.setLevel(level)
