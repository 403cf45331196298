"""Define the options of signals; this module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from adapterhub_fin.plugin import CALENDAR_PATTERN, Options

Direction = Literal["sell", "hold", "buy"]


class FitOptions(Options):
    """Say on which labelled texts something is fitted: those known before a date."""

    fit_before: str = Field(
        description="Fit on texts and labels known before this date or instant; later decisions alone may use it."
    )
    corpus: Mapping[str, Any] | str | None = Field(
        None, description="Corpus of the labelled texts, as in a recipe; by default that of the signals."
    )

    @field_validator("fit_before", mode="before", json_schema_input_type=str)
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date | datetime) else value  # YAML reads 2024-12-31 as a day


class CalibrationOptions(FitOptions):
    """Choose how probabilities are calibrated."""

    name: Literal["temperature", "isotonic"] = Field(
        "temperature", description="temperature divides the logits by one number; isotonic maps confidence to accuracy."
    )


class ThresholdOptions(FitOptions):
    """Choose how the threshold of confidence is fitted."""

    precision: float = Field(
        0.6, gt=0, lt=1, description="The least confidence at which this share of BUY and SELL answers was right."
    )


class SignalOptions(Options):
    """Choose which version answers which text, when decisions are taken, and how answers become signals."""

    ticker: str | tuple[str, ...] | None = Field(
        None, description="Ticker that every text counts for, or several, in place of the texts' groups."
    )
    universe: tuple[str, ...] = Field((), description="Tickers to have in the table even where no text is theirs.")
    as_of: str | None = Field(
        "row",
        description="row: for each text the version that its own time allows; a date: the version of then; null: the "
        "reference as it stands. A version answers no text from before its knowledge end.",
    )
    include_base: bool = Field(True, description="Count what the base knew; false leaves it out, and marks the table.")
    yanked: Literal["as_then", "before_yank", "left_out"] = Field(
        "as_then",
        description="What a version counts for that was yanked since. as_then: from when the registry added it until "
        "it was yanked; before_yank: for every text from before its yank; left_out: for none.",
    )
    allow_lookahead: bool = Field(
        False, description="Answer texts that the version may know the future of, and mark the table."
    )
    calendar: str = Field(
        "24/7", pattern=CALENDAR_PATTERN, description="Exchange calendar at whose closes decisions are taken."
    )
    interval: str = Field(
        "1d", description="Length of the bars at whose closes decisions are taken: 1d, or less, such as 1h or 15min."
    )
    window: str = Field(
        "session",
        pattern=r"^([0-9]{1,5}(d|h|min)|session)$",
        description="How far back a decision reads, such as 3d; session: since the decision before.",
    )
    aggregate: Mapping[str, Any] | str | None = Field(
        None,
        description="How a window's texts become one signal: confidence, mean, majority, decay, or one of a plugin. By "
        "default confidence for classes and mean for estimates.",
    )
    min_confidence: float = Field(0, ge=0, lt=1, description="Leave out texts that are answered with less confidence.")
    threshold: float | ThresholdOptions = Field(
        0.0, description="Confidence below which a signal isn't actionable: a number, or fitted by {fit_before: DATE}."
    )
    calibration: CalibrationOptions | None = Field(
        None, description="Calibrate confidence on labelled texts: {name: temperature, fit_before: DATE}."
    )
    directions: Mapping[str, Direction] = Field(
        {}, description="What each label of the head says: {bearish: sell, ...}; usual names need none."
    )
    bound: float = Field(0, ge=0, description="Of a regression: an estimate this far from 0 or less is HOLD.")

    @field_validator("as_of", mode="before", json_schema_input_type=str | None)
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date | datetime) else value

    @field_validator("threshold")
    @classmethod
    def _is_a_share(cls, threshold: float | ThresholdOptions) -> float | ThresholdOptions:
        if isinstance(threshold, float) and not 0 <= threshold < 1:
            raise ValueError("a confidence is from 0 to 1: give a threshold of at least 0 and below 1")
        return threshold

    @model_validator(mode="after")
    def _names_tickers_once(self) -> SignalOptions:
        names = self.tickers
        if len(set(names)) < len(names) or not all(names):
            raise ValueError("ticker has an empty name, or one twice")
        return self

    @property
    def tickers(self) -> tuple[str, ...]:
        """Return the tickers that are given for all texts."""
        return (self.ticker,) if isinstance(self.ticker, str) else tuple(self.ticker or ())
