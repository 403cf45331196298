"""Tell whether a plugin that can't be loaded could have held a veto, without running any of it.

A veto fails closed, so one that can't load must stop the add; any other broken plugin must cost only itself. Its
source is searched for the hook's name; where there is no source to search, it counts as a veto.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

HOOK = "ahf_before_add"


def may_hold_veto(entry: EntryPoint | None, module: object | None) -> bool:
    """Tell whether the plugin names the veto hook, or nothing of it can be read."""
    if module is not None and hasattr(module, HOOK):
        return True
    if entry is None:
        return False
    sources = list(_sources(entry.module.partition(".")[0]))
    return not sources or any(HOOK in source.read_text(encoding="utf-8", errors="replace") for source in sources)


def _sources(top_level: str) -> list[Path]:
    spec = find_spec(top_level)  # finds a top-level package without importing it, editable installs included
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return sorted(path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
