"""Define the options of the shipped sources of prices."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adapterhub_fin.plugin import Options


class BybitOptions(Options):
    """Hold which market of Bybit is asked, and how patiently."""

    category: Literal["spot", "linear", "inverse"] = "linear"
    url: str = "https://api.bybit.com"
    page: int = Field(default=1000, ge=1, le=1000)  # bars an answer
    per_second: float = Field(default=10.0, gt=0)  # requests; Bybit allows 600 in five seconds
    tries: int = Field(default=6, ge=1, le=20)  # of one request
    wait: float = Field(default=0.5, ge=0)  # seconds before the second try; doubled at each further one
    timeout: float = Field(default=20.0, gt=0)  # seconds


class YahooOptions(Options):
    """Hold the exchange whose sessions Yahoo's bars are of."""

    calendar: str = "XNYS"
    timeout: float = Field(default=20.0, gt=0)  # seconds
