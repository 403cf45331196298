"""Render a backtest's page: one HTML file that holds its pictures, and needs neither a network nor scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapterhub_fin import __version__
from adapterhub_fin.plugin import inline_png, page_style
from adapterhub_fin_markets.report.cells import Cell

TEMPLATE: Final = Path(__file__).with_name("page.html.j2")
LOOKAHEAD: Final = "LOOK-AHEAD ALLOWED: these numbers may have known the future"
STRICT: Final = "strict: no row marked"


@dataclass(frozen=True)
class Part:
    """Hold a table, a picture, or the reason why it is missing."""

    title: str = ""
    note: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    png: bytes = b""
    file: str = ""  # under which the picture is also written
    missing: str = ""
    text: str = ""  # that is shown as it is

    @property
    def picture(self) -> str:
        """Return the picture as base64; an empty string if there is none."""
        return inline_png(self.png)


@dataclass
class Section:
    """Hold some parts under a heading."""

    id: str
    title: str
    parts: list[Part] = field(default_factory=list)


def render(
    title: str,
    digest: str,
    *,
    strict: bool,
    red: Sequence[str],
    notes: Sequence[str],
    facts: Sequence[tuple[str, Cell]],
    sections: Sequence[Section],
) -> str:
    """Return the page as HTML; every text in it is escaped. What is not strict is marked red in all its sections."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    values: dict[str, Any] = {
        "title": title,
        "digest": digest,
        "strict": strict,
        "red": red,
        "notes": notes,
        "facts": facts,
        "sections": sections,
        "style": page_style(),
        "banner": STRICT if strict else LOOKAHEAD,
        "version": __version__,
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values)
