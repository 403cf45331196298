"""Check that a stored adapter loads, on a copy of its base, before it is added to a registry or put onto a model."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.adapter_names import check_bijection, meta_twin
from adapterhub_fin.engine.base.locks import building
from adapterhub_fin.engine.peft.embeddings import live_embeddings, stored_embeddings
from adapterhub_fin.errors import AdapterHubError, WrongTensors
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.base_changes import stands_apart
from adapterhub_fin.plugin.model_parts import backbone
from adapterhub_fin.plugin.peft_method import PeftMethod, read_settings
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation
else:
    torch = Lazy("torch")


def is_apart(method: MethodImplementation, folder: Path) -> bool:
    """Tell whether loading a folder makes no difference to other adapters of which this is true, nor they to it."""
    return (
        isinstance(method, PeftMethod)
        and type(method).rebuild is PeftMethod.rebuild
        and stands_apart(read_settings(folder))
    )


def check_fits(
    method: MethodImplementation,
    model: nn.Module,
    context: AttachContext,
    folder: Path,
    whose: str,
    *,
    apart: bool = False,
) -> None:
    """Rebuild a stored adapter on a copy of a model and match its tensors one to one; the model is not changed.

    The copy is on the meta device unless the method needs real weights. With `apart`, as `is_apart` says, one that has
    the configuration and the shapes of an earlier one fits the same layers too. Raises WrongTensors if the tensors
    don't match, and whatever the method's `rebuild` raises (WrongBase, PluginError).
    """
    if not apart:
        _check_fits(method, model, context, folder, whose)
        return
    fitting = _fitting.setdefault(backbone(model), set())
    if (key := _shape_of_fit(method, model, context, folder)) not in fitting:
        _check_fits(method, model, context, folder, whose)
        fitting.add(key)


_fitting: WeakKeyDictionary[nn.Module, set[bytes]] = WeakKeyDictionary()  # by backbone: digests of what fitted


def _shape_of_fit(method: MethodImplementation, model: nn.Module, context: AttachContext, folder: Path) -> bytes:
    """Digest all that decides whether an adapter fits: its configuration, its tensors' shapes, and the model's layers.

    Other adapters are hidden. What wraps a layer counts, so that the first adapter on a layer is always rebuilt.
    """
    settings = {key: value for key, value in read_settings(folder).items() if key != "base_model_name_or_path"}
    shapes = sorted((name, tuple(info.shape)) for name, info in read_header(folder / WEIGHTS).items())
    layers = [(name, type(module), _own_shapes(module)) for name, module in model.named_modules()]
    facts = (type(method), sorted(settings.items()), shapes, context.task, context.modules_to_save, layers)
    return hashlib.sha256(repr(facts).encode()).digest()


def _own_shapes(module: nn.Module) -> list[Any]:
    """Return a module's own parameters and buffers, of any shape: their names, shapes and types."""
    tensors = {**module._parameters, **module._buffers}
    return [(name, tuple(value.shape), value.dtype) for name, value in tensors.items() if value is not None]


def _check_fits(
    method: MethodImplementation, model: nn.Module, context: AttachContext, folder: Path, whose: str
) -> None:
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
