"""Define the error of prices that can't be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapterhub_fin.plugin import AdapterHubError


class BadPrices(AdapterHubError, ValueError):
    """Report prices that can't be read or may not be used; names the file and the row, or the ticker and the bar."""

    def __init__(self, message: str, findings: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(
            findings
        )  # the `Finding`s that the checks refused; empty where the table could not be read
