"""Train, version, find, load and merge PEFT adapters for finance, by name, without look-ahead.

Everything here is imported when it is first used, so that `import adapterhub_fin` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub_fin._version import __version__

if TYPE_CHECKING:
    from adapterhub_fin.engine.evaluation.diff import (
        diff,
    )
    from adapterhub_fin.engine.evaluation.evaluate import (
        Evaluation,
        evaluate,
    )
    from adapterhub_fin.engine.folding.extracting import (
        extract,
    )
    from adapterhub_fin.engine.inference.load import (
        attach,
        load,
    )
    from adapterhub_fin.engine.merging.merge import (
        Merge,
        merge,
    )
    from adapterhub_fin.engine.planning.plan import (
        Plan,
        plan,
    )
    from adapterhub_fin.engine.training.save import (
        save,
    )
    from adapterhub_fin.engine.training.series import (
        Series,
        preview_series,
        train_series,
    )
    from adapterhub_fin.engine.training.train import (
        preview,
        train,
    )
    from adapterhub_fin.errors import (
        AdapterHubError,
        BadConfiguration,
        BadCorpus,
        BadEvent,
        BadInstant,
        BadKey,
        BadManifest,
        BadMerge,
        BadQuery,
        BadRecipe,
        BadReference,
        BadSignature,
        BadText,
        BaseNotFound,
        Corrupted,
        LookAhead,
        NotAnAdapter,
        NotFinite,
        NotFound,
        PluginError,
        PolicyViolation,
        ReadOnly,
        Refused,
        TrainingFailed,
        UnknownName,
        Unreachable,
        Unsupported,
        WriteFailed,
        WrongBase,
        WrongTensors,
    )
    from adapterhub_fin.exporting.checking import (
        check,
    )
    from adapterhub_fin.exporting.exporting import (
        export,
    )
    from adapterhub_fin.plugin.descriptions import (
        Corpus,
        Head,
        Merger,
        Method,
        Metric,
        StoreKind,
    )
    from adapterhub_fin.plugin.heads import (
        Estimate,
        Likelihood,
        Prediction,
    )
    from adapterhub_fin.plugin.hooks import (
        hookimpl,
    )
    from adapterhub_fin.plugin.interfaces import (
        AttachContext,
        BoundedNow,
        KnownAt,
        Rows,
    )
    from adapterhub_fin.plugin.manager import (
        register,
    )
    from adapterhub_fin.publishing import (
        import_folder,
        publish,
        pull,
    )
    from adapterhub_fin.recipe.recipe import (
        Recipe,
    )
    from adapterhub_fin.registries import (
        Registry,
        RegistryChain,
    )
    from adapterhub_fin_registry import (
        Manifest,
        Version,
    )

__all__ = [
    "AdapterHubError",
    "AttachContext",
    "BadConfiguration",
    "BadCorpus",
    "BadEvent",
    "BadInstant",
    "BadKey",
    "BadManifest",
    "BadMerge",
    "BadQuery",
    "BadRecipe",
    "BadReference",
    "BadSignature",
    "BadText",
    "BaseNotFound",
    "BoundedNow",
    "Corpus",
    "Corrupted",
    "Estimate",
    "Evaluation",
    "Head",
    "KnownAt",
    "Likelihood",
    "LookAhead",
    "Manifest",
    "Merge",
    "Merger",
    "Method",
    "Metric",
    "NotAnAdapter",
    "NotFinite",
    "NotFound",
    "Plan",
    "PluginError",
    "PolicyViolation",
    "Prediction",
    "ReadOnly",
    "Recipe",
    "Refused",
    "Registry",
    "RegistryChain",
    "Rows",
    "Series",
    "StoreKind",
    "TrainingFailed",
    "UnknownName",
    "Unreachable",
    "Unsupported",
    "Version",
    "WriteFailed",
    "WrongBase",
    "WrongTensors",
    "__version__",
    "attach",
    "check",
    "diff",
    "evaluate",
    "export",
    "extract",
    "hookimpl",
    "import_folder",
    "load",
    "merge",
    "plan",
    "preview",
    "preview_series",
    "publish",
    "pull",
    "register",
    "save",
    "train",
    "train_series",
]

_HOME = {
    **dict.fromkeys(
        ("Corpus", "Head", "Merger", "Method", "Metric", "StoreKind"), "adapterhub_fin.plugin.descriptions"
    ),
    **dict.fromkeys(("Evaluation", "evaluate"), "adapterhub_fin.engine.evaluation.evaluate"),
    **dict.fromkeys(("attach", "load"), "adapterhub_fin.engine.inference.load"),
    **dict.fromkeys(("Merge", "merge"), "adapterhub_fin.engine.merging.merge"),
    **dict.fromkeys(("Plan", "plan"), "adapterhub_fin.engine.planning.plan"),
    "extract": "adapterhub_fin.engine.folding.extracting",
    "import_folder": "adapterhub_fin.publishing",
    "save": "adapterhub_fin.engine.training.save",
    **dict.fromkeys(("Series", "preview_series", "train_series"), "adapterhub_fin.engine.training.series"),
    **dict.fromkeys(("preview", "train"), "adapterhub_fin.engine.training.train"),
    **dict.fromkeys(
        (
            "AdapterHubError",
            "BadConfiguration",
            "BadCorpus",
            "BadEvent",
            "BadInstant",
            "BadKey",
            "BadManifest",
            "BadMerge",
            "BadQuery",
            "BadRecipe",
            "BadReference",
            "BadSignature",
            "BadText",
            "BaseNotFound",
            "Corrupted",
            "NotAnAdapter",
            "NotFinite",
            "NotFound",
            "PluginError",
            "ReadOnly",
            "LookAhead",
            "PolicyViolation",
            "Refused",
            "Unsupported",
            "TrainingFailed",
            "UnknownName",
            "Unreachable",
            "WriteFailed",
            "WrongBase",
            "WrongTensors",
        ),
        "adapterhub_fin.errors",
    ),
    "register": "adapterhub_fin.plugin.manager",
    "hookimpl": "adapterhub_fin.plugin.hooks",
    **dict.fromkeys(
        ("AttachContext", "BoundedNow", "KnownAt", "Rows"),
        "adapterhub_fin.plugin.interfaces",
    ),
    **dict.fromkeys(("Estimate", "Likelihood", "Prediction"), "adapterhub_fin.plugin.heads"),
    **dict.fromkeys(("publish", "pull"), "adapterhub_fin.publishing"),
    "Recipe": "adapterhub_fin.recipe.recipe",
    "check": "adapterhub_fin.exporting.checking",
    "diff": "adapterhub_fin.engine.evaluation.diff",
    "export": "adapterhub_fin.exporting.exporting",
    **dict.fromkeys(("Registry", "RegistryChain"), "adapterhub_fin.registries"),
    **dict.fromkeys(("Manifest", "Version"), "adapterhub_fin_registry"),
}


_RETIRED = {"Known": "KnownAt", "Site": "AttachContext"}  # renamed before the first release


def __getattr__(name: str) -> Any:
    if name in _RETIRED:
        raise AttributeError(f"{__name__}.{name} is now {__name__}.{_RETIRED[name]}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
