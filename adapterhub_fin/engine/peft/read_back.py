"""Check that a stored adapter loads, on a copy of its base, before it is added to a registry or put onto a model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.adapter_names import check_bijection, meta_twin
from adapterhub_fin.engine.base.locks import building
from adapterhub_fin.engine.peft.embeddings import live_embeddings, stored_embeddings
from adapterhub_fin.errors import AdapterHubError, WrongTensors

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation
else:
    torch = Lazy("torch")


def check_fits(
    method: MethodImplementation, model: nn.Module, context: AttachContext, folder: Path, whose: str
) -> None:
    """Rebuild a stored adapter on a copy of a model and match its tensors one to one; the model is not changed.

    The copy is on the meta device unless the method needs real weights. Raises WrongTensors if the tensors don't match,
    and whatever the method's `rebuild` raises (WrongBase, PluginError).
    """
    try:
        twin = None if method.rebuild_needs_real_weights(folder) else method.rebuild(meta_twin(model), context, folder)
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
        twin = None  # it needs real weights after all
    if twin is None:
        twin = method.rebuild(copy.deepcopy(model), context, folder)
    embeddings = live_embeddings(twin, stored_embeddings(twin, folder))
    check_bijection({**embeddings, **method.tensors(twin, context.adapter_name)}, folder, whose)


def check_reload(
    method: MethodImplementation, base: nn.Module, context: AttachContext, folder: Path, whose: str
) -> None:
    """Check that an adapter just written loads onto the base that it was trained on. Raises WrongTensors if not."""
    try:
        with building(), torch.random.fork_rng(devices=[]):
            check_fits(method, base, context, folder, whose)
    except AdapterHubError as error:
        raise WrongTensors(f"{whose} is not stored, since no load could read it back: {error}") from error
    except Exception as error:  # PEFT or a third party's method may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise WrongTensors(f"{whose} is not stored, since no load could read it back ({reason})") from error
