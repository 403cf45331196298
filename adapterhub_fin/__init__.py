"""Train, version, find, load and merge PEFT adapters for finance, by name, without look-ahead.

Everything here is imported when it is first used, so that `import adapterhub_fin` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub_fin.version import __version__ as __version__

if TYPE_CHECKING:
    from adapterhub_fin.descriptions import Corpus, Head, Merger, Method, Metric, StoreKind
    from adapterhub_fin.engine.loading import attach, load
    from adapterhub_fin.engine.saving import import_folder, save
    from adapterhub_fin.engine.training import train
    from adapterhub_fin.errors import *  # noqa: F403
    from adapterhub_fin.extensions import register
    from adapterhub_fin.hooks import hookimpl
    from adapterhub_fin.interfaces import Known, Prediction, Rows, Site
    from adapterhub_fin.recipe import Recipe
    from adapterhub_fin_registry import Manifest, Registry, Version

_HOME = {
    "attach": "adapterhub_fin.engine.loading",
    "load": "adapterhub_fin.engine.loading",
    "import_folder": "adapterhub_fin.engine.saving",
    "save": "adapterhub_fin.engine.saving",
    "train": "adapterhub_fin.engine.training",
    "register": "adapterhub_fin.extensions",
    "hookimpl": "adapterhub_fin.hooks",
    "Recipe": "adapterhub_fin.recipe",
    **dict.fromkeys(("Manifest", "Registry", "Version"), "adapterhub_fin_registry"),
    **dict.fromkeys(("Known", "Prediction", "Rows", "Site"), "adapterhub_fin.interfaces"),
    **dict.fromkeys(("Corpus", "Head", "Merger", "Method", "Metric", "StoreKind"), "adapterhub_fin.descriptions"),
    **dict.fromkeys(
        (
            "AdapterHubError BadCorpus BadManifest BadRecipe BadReference BaseNotFound Corrupted NotAnAdapter NotFound "
            "PluginError ReadOnly Refused TrainingFailed UnknownName WrongBase WrongTensors"
        ).split(),
        "adapterhub_fin.errors",
    ),
}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
