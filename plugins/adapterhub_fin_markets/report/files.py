"""Write a backtest's tables as parquet, and what it says as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from adapterhub_fin import __version__
from adapterhub_fin_markets.backtest.account import CUTS
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.report.page import LOOKAHEAD
from adapterhub_fin_markets.signals.table import write_signals

KIND: Final = "adapterhub_fin_markets.backtest"
RESULT: Final = "result.json"
TABLES: Final = ("equity.parquet", "ledger.parquet", "trades.parquet", "signals.parquet")
_INSTANT: Final = pa.timestamp("us", "UTC")


def write_tables(result: BacktestResult, folder: Path) -> None:
    """Write the four TABLES into a folder; each has the digest of the recipe, and whether it is strict, as metadata."""
    tables = {"equity": equity_table(result), "ledger": ledger_table(result), "trades": trade_table(result)}
    for name, table in tables.items():
        facts = {"recipe": result.recipe.digest(), "strict": result.strict}
        described = table.replace_schema_metadata({f"{KIND}.{name}": json.dumps(facts, sort_keys=True)})
        names = [column for column in ("ticker", "cut") if column in described.column_names]  # numbers seldom repeat
        pyarrow.parquet.write_table(described, folder / f"{name}.parquet", use_dictionary=names)
    write_signals(result.signals, folder / "signals.parquet")


def equity_table(result: BacktestResult) -> Any:
    """Return a row a bar: the account at its close, and what moved it."""
    ledger = result.ledger
    columns = {
        "equity": ledger.equity,
        "cash": ledger.cash,
        "return": ledger.returns,
        "turnover": ledger.turnover,
        "exposure": np.abs(ledger.weights).sum(axis=1),
        "net_exposure": ledger.weights.sum(axis=1),
        **{name: getattr(ledger, name) for name in ("commission", "slippage", "borrow", "dividends", "interest")},
        "delisted": ledger.delisted,
    }
    return pa.table({"at": pa.array(ledger.at, _INSTANT), **_floats(columns)})


def ledger_table(result: BacktestResult) -> Any:
    """Return a row a bar and ticker with shares at its close: the shares, and the price that they are valued at."""
    ledger = result.ledger
    rows, columns = np.nonzero(ledger.shares)
    cells = {"shares": ledger.shares[rows, columns], "price": ledger.level[rows, columns]}
    return pa.table({**_keys(result, rows, columns), **_floats(cells)})


def trade_table(result: BacktestResult) -> Any:
    """Return a row an order that asked for a trade; `at` is the close of the bar that filled it."""
    trades = result.ledger.trades
    names = ("ordered", "filled", "price", "value", "commission", "slippage")
    codes = pa.array(np.maximum(trades.cut - 1, 0), pa.int8(), mask=trades.cut == 0)
    reasons = pa.DictionaryArray.from_arrays(codes, pa.array([CUTS[code] for code in sorted(CUTS)]))
    cells = _floats({name: getattr(trades, name) for name in names})
    return pa.table({**_keys(result, trades.row, trades.ticker), **cells, "cut": reasons})


def _keys(result: BacktestResult, rows: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
    names = pa.array(list(result.prices.tickers), pa.string())
    tickers = pa.DictionaryArray.from_arrays(pa.array(columns.astype(np.int32)), names)
    return {"at": pa.array(result.ledger.at[rows], _INSTANT), "ticker": tickers}


def _floats(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: pa.array(column, pa.float64(), from_pandas=True) for name, column in columns.items()}


def result_json(result: BacktestResult, files: Sequence[str]) -> str:
    """Return what the result says as JSON, with the names of all files of the report."""
    document = {
        "kind": KIND,
        "strict": result.strict,
        "warning": None if result.strict else LOOKAHEAD,
        **result.record(),
        "files": sorted(files),
        "software": f"adapterhub_fin {__version__}",
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
