"""Offer everything that a plugin may import; every other module of the core is private.

Public names are listed in `__init__.pyi`, and imported when they are first used: hooks and options import no torch.
"""

from adapterhub_fin_registry._public_names import public_names

__getattr__, __dir__, __all__ = public_names(__name__)
