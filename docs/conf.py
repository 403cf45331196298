"""Configure the documentation site: MyST pages, the furo theme, and an API reference from docstrings."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import adapterhub_fin

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "adapterhub_fin"
author = "The adapterhub_fin authors"
release = adapterhub_fin.__version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
extensions = ["myst_parser", "api_reference"]
exclude_patterns = ["conf.py", "_ext"]
default_role = "code"

autodoc_mock_imports = ["accelerate", "bitsandbytes", "datasets", "peft", "torch", "transformers"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
suppress_warnings = ["ref.python"]  # a name that two packages have

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
