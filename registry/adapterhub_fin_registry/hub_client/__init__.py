"""Read and publish versions on a Hub with `huggingface_hub`, which is imported only when a Hub is used.

Public names are listed in `__init__.pyi`, and imported when they are first used.
"""

from adapterhub_fin_registry._public_names import public_names

__getattr__, __dir__, __all__ = public_names(__name__)
