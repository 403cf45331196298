"""Give a package its public names from its stub, `__init__.pyi`: each is listed there once, and imported when used."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_IMPORT = re.compile(r"^from (\S+) import (?:\(([^)]*)\)|([^\n(]*))", re.MULTILINE)
_NAME = re.compile(r"(\w+)(?: as (\w+))?")


def public_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package that has a stub beside its `__init__.py`."""
    module = sys.modules[package]
    loader: Any = module.__spec__.loader if module.__spec__ is not None else None
    stub = loader.get_data(f"{str(module.__file__).removesuffix('.py')}.pyi").decode()
    homes = {name: home for home, several, one in _IMPORT.findall(stub) for name, _ in _NAME.findall(several or one)}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(module, name, value)
        return value

    return get, lambda: sorted({*vars(module), *homes}), sorted(homes)
