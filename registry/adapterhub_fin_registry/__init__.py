"""Store versions of adapters on a local disk, find them by name and verify them on read.

Public names are listed in `__init__.pyi`, and imported when they are first used: listing versions imports no pydantic.
"""

from adapterhub_fin_registry._public_names import public_names

__getattr__, __dir__, __all__ = public_names(__name__)
