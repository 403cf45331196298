"""Train, version, find, load and merge PEFT adapters for finance, by name, without look-ahead.

Public names are listed in `__init__.pyi`, and imported when they are first used: `import adapterhub_fin` costs nothing.
"""

import sys
from typing import Any

from adapterhub_fin._version import __version__ as __version__
from adapterhub_fin_registry._public_names import public_names

_public, __dir__, __all__ = public_names(__name__)
_RETIRED = {"Known": "KnownAt", "Site": "AttachContext"}  # renamed before the first release

if "ipykernel" in sys.modules:
    from adapterhub_fin._notebook import import_tqdm

    import_tqdm()


def __getattr__(name: str) -> Any:
    if name in _RETIRED:
        raise AttributeError(f"{__name__}.{name} is now {__name__}.{_RETIRED[name]}")
    return _public(name)
