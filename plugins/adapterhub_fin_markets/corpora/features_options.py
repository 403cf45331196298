"""Define the options of the corpus of features; this module imports nothing heavy."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from adapterhub_fin.plugin import Options
from adapterhub_fin_markets.corpora.options import ClockSpan, DocumentsPart
from adapterhub_fin_markets.prices.choice import Repair


class MarketFeaturesOptions(Options):
    """Choose prices, features, how they are written, and what is asked."""

    path: Path = Field(description="A table of prices, or a folder of them, as `ahf market check` reads them.")
    calendar: str | None = Field(
        None, description="Exchange such as XNYS, or 24/7; by default what the file of `ahf market fetch` says."
    )
    repair: tuple[Repair, ...] = Field(
        (), description="Kinds of faults in the prices to repair, of those whose repair uses nothing that came later."
    )
    features: tuple[str, ...] | None = Field(
        None, min_length=1, description="Features by name, in this order; by default all that are installed."
    )
    horizon: int = Field(5, ge=1, le=1000, description="Bars from the first possible fill to the sale.")
    every: Literal["bar", "week"] = Field(
        "week", description="A row a ticker and bar, or one at the last bar of each week."
    )
    scale: Literal["rank", "z-score"] = Field("rank", description="How a feature is written.")
    among: Literal["tickers", "history"] = Field(
        "tickers",
        description="Compare with the other tickers of the bar, or with what was known before fitted_before.",
    )
    fitted_before: date | None = Field(
        None,
        description="With among: history, the day before which the scaler's values were known. Rows until then are "
        "available from that day on, and may not be in validation or test.",
    )
    digits: Literal[2, 3] = Field(2, description="Digits of a rank (07, 071) or z-score (+1.2, +1.23).")
    form: Literal["text", "messages"] = Field(
        "text", description="A plain prompt, or a conversation for a base with a chat template."
    )
    texts: DocumentsPart | None = Field(
        None,
        description="A corpus of dated texts whose group is the ticker, as in a recipe: the text of a row is then the "
        "ticker's latest texts, in place of the prompt.",
    )
    texts_within: ClockSpan = Field("7d", description="How long before the decision texts count: 7d, 12h or 30min.")
    texts_most: int = Field(8, ge=1, le=1000, description="Texts of a row at most, the newest first.")
    answer: Literal["target", "label"] = Field(
        "target", description="The target as a number, or down, flat or up by flat_below."
    )
    flat_below: float | None = Field(
        None, ge=0, description="With answer: label, the size up to which a target is flat."
    )
    rows: Literal["answered", "all"] = Field(
        "answered",
        description="Decisions with a target, to train on; or all, for signals: that a ticker goes on until its sale "
        "is not known at the decision.",
    )
    clip: float = Field(3.0, gt=0, description="Size at which a target is clipped.")
    license: str | None = Field(None, min_length=1, description="License of the prices, as an SPDX id.")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.among == "history") != (self.fitted_before is not None):
            raise ValueError("among: history needs fitted_before, by which its scaler is fitted, and no other does")
        if (self.answer == "label") != (self.flat_below is not None):
            raise ValueError("answer: label needs flat_below, the size up to which a target is flat, and no other does")
        return self
