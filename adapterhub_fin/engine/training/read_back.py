"""Check that what a run wrote loads onto its base again, before it is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.base.load_base import load_base
from adapterhub_fin.engine.base.locks import building, on_meta
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.peft.read_back import check_reload
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Method

if TYPE_CHECKING:
    import torch

    from adapterhub_fin.engine.training.prepare import LoadedRun
    from adapterhub_fin.plugin.interfaces import MethodImplementation
else:
    torch = Lazy("torch")


def check_trained_loads(loaded: LoadedRun, folder: Path) -> None:
    """Load what a run wrote onto its base again, with a fresh method that shares no state with the training.

    The base is on the meta device, without values, unless the method computes with them: then it is loaded again.
    Raises what `check_reload` raises where the loaded adapter differs.
    """
    recipe = loaded.recipe
    method: MethodImplementation = build_contribution(Method, recipe.method.name, recipe.method.options)
    if method.rebuild_needs_real_weights(folder):
        with quiet_loading(), building(), torch.random.fork_rng(devices=[]):
            base, _ = load_base(loaded.source.folder, loaded.head, method)
    else:
        with on_meta(), torch.random.fork_rng(devices=[]):
            base = loaded.head.skeleton(loaded.config)
    context = replace(loaded.context, adapter_name=new_adapter_name())
    check_reload(method, base, context, folder, f"what {recipe.method.name} trained")
