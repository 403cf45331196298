"""Render the report's page: one HTML file that holds its pictures, and needs neither a network nor scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from adapterhub_fin._version import __version__
from adapterhub_fin.plugin.pictures import inline_png, page_style
from adapterhub_fin_registry import Version

TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True)
class Part:
    """Hold a table, a picture, or the reason why it is missing; `numeric` names the columns that are aligned right."""

    title: str = ""
    note: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    numeric: Sequence[str] = ()
    png: bytes = b""
    file: str = ""  # under which the picture is also written
    missing: str = ""

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


def picture_tags(pictures: Sequence[Path]) -> str:
    """Return pictures side by side as HTML that holds them, for a notebook; a file that is gone is left out."""
    style = (
        "display: inline-block; width: 48%; min-width: 20em; margin: 0 1% 1% 0; vertical-align: top; background: white"
    )
    tags = (
        f"<img alt='{escape(path.stem)}' style='{style}' src='data:image/png;base64,{inline_png(path.read_bytes())}'>"
        for path in pictures
        if path.is_file()
    )
    return f"<div>{''.join(tags)}</div>"


def render(version: Version, sections: Sequence[Section]) -> str:
    """Return the page of a version as HTML; every text in it is escaped."""
    return render_page(version.reference, version.digest, version.manifest.description, sections)


def render_page(title: str, digest: str, description: str, sections: Sequence[Section]) -> str:
    """Return a page as HTML, with two lines below its title; every text in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        digest=digest,
        description=description,
        sections=sections,
        style=page_style(),
        version=__version__,
    )
