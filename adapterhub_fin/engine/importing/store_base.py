"""Store a whole model's folder as a version of kind base, which adapters are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.check import describe_base
from adapterhub_fin.engine.base.load_base import load_config, load_tokenizer
from adapterhub_fin.engine.base.locks import building, on_meta
from adapterhub_fin.engine.base.model_tensors import ModelTensors, fingerprinted
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.data.known import knowledge_record
from adapterhub_fin.errors import BaseNotFound, Refused, WrongTensors
from adapterhub_fin.plugin.adapter_files import CONFIG as ADAPTER_CONFIG
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_registry import Manifest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from adapterhub_fin.plugin.interfaces import KnownAt
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.history import History
    from adapterhub_fin_registry.model.manifest import Base

CONFIG, TOKENIZER = "config.json", ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "tokenizer.model")


def store_base(
    folder: Path,
    *,
    name: str,
    registry: Registry,
    method: Mapping[str, Any],
    knowledge: Mapping[str, KnownAt],
    corpus: Mapping[str, Any] | None,
    metrics: Mapping[str, float] | None = None,
    measured_on: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int | None = None,
    parents: Sequence[Mapping[str, Any]] = (),
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    training_texts: Iterable[str] | None = None,
    history: History | None = None,
    repository: str | None = None,
    origin: Mapping[str, Any] | None = None,
    signatures: Iterable[bytes] | None = None,
    read: Sequence[Path] = (),
) -> Version:
    """Add a model that `save_pretrained` wrote, with its tokenizer, to a registry as a base.

    `method` is `{name, options}` of what made it, `knowledge` its inputs by name (`corpus:NAME`, `tokenizer:NAME`, and
    `base` for one that went on from another), `parents` the base before it as `{digest, name, role: "continued"}`. The
    fingerprint is taken from the stored weights. An input that is undated (`BoundedNow`) counts as known no earlier
    than the files of the folder and of `read`. Raises what `describe_stored` and the registry's `add` raise.
    """
    described = describe_stored(folder, repository)
    bound = registry.bounded_now(folder, *read, name=name)
    manifest = checked(
        Manifest,
        {
            "kind": "base",
            "method": dict(method),
            "base": described.model_dump(),
            "corpus": None if corpus is None else dict(corpus),
            "knowledge": knowledge_record(knowledge, bound),
            "metrics": dict(metrics or {}),
            "measured_on": None if measured_on is None else dict(measured_on),
            "recipe": None if recipe is None else dict(recipe),
            "seed": seed,
            "environment": environment(),
            "parents": [dict(parent) for parent in parents],
            "description": description,
            "license": license,
            "tags": tuple(tags),
        },
        "manifest",
    )
    return registry.add(
        folder,
        manifest,
        name=name,
        checks=extensions().vetoes(),
        origin=origin,
        signatures=signatures,
        training_texts=training_texts,
        history=history,
    )


def describe_stored(folder: Path, repository: str | None = None) -> Base:
    """Return the fingerprint of a folder's model, read from its files, with its tokenizer's.

    Raises BaseNotFound for a folder without a model or a tokenizer, Refused for an adapter, for pickles and for a model
    that brings its own code, WrongTensors where Transformers would draw a parameter at random, and WrongBase for a
    weight that is NaN or infinite.
    """
    check_whole(folder)
    with building(), quiet_loading():
        config = load_config(folder)
        with on_meta():
            model: PreTrainedModel = _architecture(config, folder)._from_config(config)  # type: ignore[no-untyped-call]
        tensors = ModelTensors(folder, model)
        _check_complete(model, tensors)
        tokenizer = load_tokenizer(folder)
        return describe_base(model, tokenizer, (), repository, None, fingerprinted(model, tensors, ()))


def check_whole(folder: Path) -> None:
    """Check, without torch, that a folder has a model's configuration and a tokenizer, and is no adapter.

    Raises BaseNotFound where one is missing, and Refused for an adapter.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        raise Refused(f"{folder} holds an adapter ({ADAPTER_CONFIG}) and no base: import it as one, or merge it first")
    if not (folder / CONFIG).is_file():
        raise BaseNotFound(f"{folder} holds no {CONFIG}: a base is a folder as save_pretrained writes it")
    if not any((folder / name).is_file() for name in TOKENIZER):
        raise BaseNotFound(f"{folder} holds no tokenizer: save it there too, with tokenizer.save_pretrained")


def _architecture(config: Any, folder: Path) -> type[PreTrainedModel]:
    """Return Transformers' class of a model. Raises Refused where its configuration names none of them."""
    import transformers

    names = [str(name) for name in config.architectures or ()]
    build = getattr(transformers, names[0], None) if names else None
    if not (isinstance(build, type) and issubclass(build, transformers.PreTrainedModel)):
        raise Refused(
            f"{folder / CONFIG} names {names[0] if names else 'no'} architecture, which isn't a class of Transformers: "
            "save the model with save_pretrained, under a release that has it"
        )
    return build


def _check_complete(model: PreTrainedModel, tensors: ModelTensors) -> None:
    """Raise WrongTensors where a model's files lack one of its parameters, or hold it in another shape."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    for name, parameter in model.named_parameters():
        if (stored := tensors.by_key.get(name)) is None:
            if name not in tied and not any(key in tensors.by_key for key in _twins(model, name)):
                raise WrongTensors(
                    f"{tensors.folder} lacks the weights of {name}, which every load would draw anew: save the model "
                    "whole, as the class that its config.json names"
                )
        elif stored.direct and stored.shape != tuple(parameter.shape):
            tensors.find(name, tuple(parameter.shape), "the configuration asks for")


def _twins(model: PreTrainedModel, name: str) -> list[str]:
    """Return the names under which a parameter may be stored too, because it is tied."""
    ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    return [target for target, source in ties.items() if source == name]
