"""The model that a version is part of, without values: what its parameters are called, and which are one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers

from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.errors import Unsupported

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from adapterhub_fin.plugin.heads import HeadImplementation


def shell_of(config: PretrainedConfig, head: HeadImplementation | None, folder: Path, whose: str) -> PreTrainedModel:
    """The base with the version's head on the meta device; Refused where Transformers can't build it by itself."""
    if (quantized := getattr(config, "quantization_config", None)) is not None:
        kind = quantized.get("quant_method") if isinstance(quantized, Mapping) else type(quantized).__name__
        raise Unsupported(
            f"the files at {folder} are quantized ({kind}), and a change is folded into whole weights: name the folder "
            "of the base that they were made from with --base (base=...)"
        )
    with on_meta():
        bare: Any = transformers.AutoModel.from_config
        model: Any = bare(config) if head is None else head.skeleton(config)
        kind = getattr(transformers, type(model).__name__, None)
        if kind is not type(model) or set(kind(model.config).state_dict()) != set(model.state_dict()):
            raise Unsupported(
                f"{whose} has a head that Transformers does not build from a configuration, so that no folder could "
                f"hold the whole model: load it with ahf.load, or export it with --layout peft"
            )
    model.config.architectures = [type(model).__name__]
    built: PreTrainedModel = model
    return built


def untied(model: PreTrainedModel, touched: Collection[str], whose: str) -> tuple[PretrainedConfig, frozenset[str]]:
    """The configuration to write, and the parameters that must be stored apart from now on.

    Two layers that share a weight stop sharing it where an adapter changes what one of them computes with.
    """
    ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
    apart = frozenset(key for tie in ties.items() if not {*tie}.isdisjoint(touched) for key in tie)
    config = model.config
    if not apart:
        return config, apart
    config.tie_word_embeddings = False
    with on_meta():
        again: Any = type(model)
        still = getattr(again(config), "all_tied_weights_keys", {})
    if kept := sorted(apart & {*still, *still.values()}):
        raise Unsupported(
            f"{whose} changes {kept[0]}, which {type(model).__name__} shares with another layer in every "
            "configuration: load it with ahf.load, or export it with --layout peft"
        )
    return config, apart
