"""State the rules that a backtest trades by: when orders fill, how positions are sized, and what they cost."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from adapterhub_fin.plugin import Options

Fill = Literal["next_open", "close", "vwap", "same_instant"]
SizeRule = Literal["equal", "confidence", "inverse_volatility"]


class Rules(Options):
    """Hold the rules of a backtest; rates are a year's, in basis points (bp) where the name says so."""

    fill: Fill = Field(
        "next_open",
        description="Where a decision fills: at the next open, the next close, the next bar's turnover / volume, or "
        "(same_instant) at an open at the very instant of the close that was decided at. All but the last are strictly "
        "later than the decision.",
    )
    size_at: Literal["decision", "fill"] = Field(
        "decision",
        description="The equity and price that shares are sized by: of the last close known at the decision, or of the "
        "fill itself.",
    )
    rebalance: Literal["on_change", "every_bar"] = Field(
        "on_change",
        description="When an order is sent: where the target weight changes, or at every bar, back to the weight.",
    )
    positions: Literal["long-only", "long-short"] = Field(
        "long-only",
        description="long-only is a cash account, which never spends cash that it has not; long-short may owe shares "
        "and cash.",
    )
    size: float | SizeRule = Field(
        "equal",
        description="The weight of a position as a share of equity, or a rule that divides max_gross among the "
        "positions: equal, by confidence, or by the inverse volatility of past returns.",
    )
    max_gross: float = Field(1.0, gt=0, description="The most that the sizes of all weights may sum to.")
    volatility_bars: int = Field(20, ge=2, description="How many past returns inverse_volatility looks at.")
    hold: Literal["keep", "flat"] = Field(
        "keep", description="What HOLD, and a signal below its threshold, do: keep the position, or close it."
    )
    lot: float = Field(0.0, ge=0, description="Shares are multiples of it, rounded toward zero; 0 is fractional.")
    costs_bp: float = Field(10.0, ge=0, lt=10_000, description="Commission in bp of the filled value.")
    slippage_bp: float = Field(0.0, ge=0, lt=10_000, description="How far a fill is worse than its price, in bp.")
    borrow_bp_year: float = Field(
        0.0, ge=0, description="Fee for borrowed shares in bp a year of the short value, by days / 360."
    )
    funding_bp: float = Field(
        0.0,
        description="Funding in bp of the short value, which shorts pay at each 00:00, 08:00 and 16:00 UTC; below 0 "
        "they receive it.",
    )
    max_volume_share: float | None = Field(
        None, gt=0, le=1, description="The most of a bar's volume that an order may be; the rest is left unfilled."
    )
    delisting_loss: float = Field(
        0.0, ge=0, le=1, description="Share of the last price that is lost where a ticker has no later price."
    )
    delisted_after: int = Field(
        20, ge=1, description="Bars in a row without a price after which a position is closed as delisted."
    )
    cash_rate: float = Field(0.0, description="Interest on cash a year, such as 0.04, by days / 360; debts pay it.")
    capital: float = Field(100_000.0, gt=0, description="The cash at the start, in the currency of the prices.")

    @field_validator("size", mode="before")
    @classmethod
    def _check_size(cls, size: Any) -> Any:
        number = isinstance(size, int | float) and not isinstance(size, bool)
        if size not in get_args(SizeRule) and not (number and 0 < size < float("inf")):
            raise ValueError(f"a size is a number above 0, or one of {', '.join(get_args(SizeRule))}")
        return size
