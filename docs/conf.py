"""Configure the documentation site: MyST pages, the furo theme, and an API reference from docstrings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import adapterhub_fin

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "adapterhub_fin"
author = "The adapterhub_fin authors"
release = adapterhub_fin.__version__

extensions = ["myst_parser"]
exclude_patterns = ["conf.py"]
nitpicky = False

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]

html_theme = "furo"
html_title = "adapterhub_fin"
html_show_sourcelink = False

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:benchmarks|examples|tests)/[^)]*\)")


def unlink_files_outside(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace links to files that are not part of the site by their text."""
    source[0] = OUTSIDE.sub(r"\1", source[0])


def setup(app: Sphinx) -> None:
    """Connect the hook above."""
    app.connect("source-read", unlink_files_outside)
