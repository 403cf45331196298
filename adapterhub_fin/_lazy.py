"""Import a module when something of it is first used.

torch takes seconds of CPU to import, and much that imports it says no before it computes: an unknown version, a base
that isn't here, a recipe with a slip. So a module of the engine that uses torch in its functions alone has

    if TYPE_CHECKING:
        import torch
    else:
        torch = Lazy("torch")
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """Import a module when an attribute of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
