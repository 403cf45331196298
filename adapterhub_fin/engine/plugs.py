"""Build plugins from names and options, and bases with their heads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adapterhub_fin.descriptions import Description
from adapterhub_fin.extensions import extensions

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from adapterhub_fin.interfaces import HeadImplementation, MethodImplementation, Site
    from adapterhub_fin_registry.manifest import Base


def build(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """A plugin's implementation, imported now."""
    checked = extensions().options(kind, name, options)
    return extensions().get(kind, name).load()(checked)


def load_base(folder: Path, head: HeadImplementation | None, method: MethodImplementation) -> tuple[Any, Sequence[str]]:
    """The base with its head, and the modules that the base's file has no weights for."""
    loading = {**method.loading(), "local_files_only": True}
    if head is not None:
        model, missing = head.load_model(str(folder), **loading)
    else:
        from transformers import AutoModel

        model, missing = AutoModel.from_pretrained(folder, **loading), ()
    return model, missing_modules(model, missing)


def missing_modules(model: nn.Module, missing: Sequence[str]) -> tuple[str, ...]:
    """The largest modules all of whose parameters are missing: they are drawn at random, so they must travel.

    PEFT's own list knows `classifier` and `score` alone, and loses a pooler that the base was saved without.
    """
    absent = set(missing)
    found: list[str] = []
    for name, module in model.named_modules():
        inner = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
        if name and inner and absent.issuperset(inner) and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return tuple(sorted(found))


def load_config(folder: Path) -> PretrainedConfig:
    """The base's configuration, read from its folder."""
    from transformers import AutoConfig

    config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


def try_out(method: MethodImplementation, head: HeadImplementation, config: PretrainedConfig, site: Site) -> None:
    """Attach to a model without values, so that a layer that does not exist is refused before any weight is read."""
    with torch.device("meta"):
        method.attach(head.skeleton(config), site)


def align_padding(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell the model which token pads: a decoder's head looks for the last token that does not."""
    config: Any = model.config
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The base's tokenizer, padding on the right; a base without a padding token pads with its end of text."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def materialise(shell: nn.Module, like: torch.Tensor) -> None:
    """Give memory to the parameters of a meta shell that have none; their values come from a version."""
    for module in shell.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                empty = torch.zeros(parameter.shape, dtype=like.dtype, device=like.device)
                setattr(module, name, nn.Parameter(empty, requires_grad=False))


def pin_key(base: Base) -> str:
    """What a base without an id is remembered by on this machine."""
    probe = base.weight_probe.values if base.weight_probe else {}
    text = json.dumps([base.structure_digest, sorted(probe.items())], separators=(",", ":"))
    return "pin:" + hashlib.sha256(text.encode()).hexdigest()
