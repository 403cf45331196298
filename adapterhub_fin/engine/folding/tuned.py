"""Build models on the meta device: a fine-tuned model with its task, or the whole model that a version is part of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from adapterhub_fin.engine.base.fingerprint import VOLATILE
from adapterhub_fin.engine.base.load_base import load_config
from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.errors import BaseNotFound, Unsupported, WrongBase

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from adapterhub_fin.plugin.heads import HeadImplementation

TRAINING_ALONE = ("dropout", "initializer")  # in keys of settings that affect training but no prediction


@dataclass(frozen=True)
class Task:
    """Describe the task of a fine-tuned model."""

    peft: str | None  # PEFT's task type
    name: str | None  # of the head in this project
    labels: Sequence[str] | None = None


def tuned_shell(tuned: Path, base: Path) -> tuple[PreTrainedModel, Task]:
    """Return the tuned model on the meta device, built from its base's configuration, and its task.

    Raises BaseNotFound without a configuration, WrongBase where the two are configured differently, and Unsupported for
    quantized weights or an architecture that can't be extracted.
    """
    if not (tuned / "config.json").is_file():
        raise BaseNotFound(f"{tuned} holds no config.json: name the folder of a fine-tuned model")
    config, origin = load_config(tuned), load_config(base)
    for folder, model_config in ((tuned, config), (base, origin)):
        if getattr(model_config, "quantization_config", None) is not None:
            raise Unsupported(f"the weights at {folder} are quantized: name the folder of the unquantized model")
    _check_alike(config, origin)
    kind, task = _task(config, tuned)
    like: Any = type(origin).from_dict({**origin.to_dict(), **_labels(config, task)})
    with on_meta():
        model: PreTrainedModel = kind(like)
    return model, task


def _check_alike(config: PretrainedConfig, origin: PretrainedConfig) -> None:
    one, other = config.to_diff_dict(), origin.to_diff_dict()
    size = (getattr(config, "vocab_size", None), getattr(origin, "vocab_size", None))
    if config.model_type == origin.model_type and size[0] != size[1]:
        raise WrongBase(
            f"the tuned model has a vocabulary of {size[0]} tokens and its base one of {size[1]}: an adapter has no "
            "place for added tokens; resize the base's embeddings, save it, and name that as the base"
        )
    ignored = VOLATILE | {key for key in {*one, *other} if any(part in key for part in TRAINING_ALONE)}
    if differing := sorted(key for key in {*one, *other} - ignored if one.get(key) != other.get(key)):
        raise WrongBase(
            f"the tuned model and its base have different settings ({', '.join(differing)}), so their weights can't be "
            "compared: name the base that it was tuned from"
        )


def _task(config: PretrainedConfig, tuned: Path) -> tuple[Any, Task]:
    architecture = (config.architectures or [""])[0]
    kind = getattr(transformers, architecture, None)
    if kind is not None and architecture in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values():
        if config.problem_type == "regression" or config.num_labels == 1:
            return kind, Task("SEQ_CLS", "regress")
        if config.problem_type == "multi_label_classification":
            raise Unsupported(f"{tuned} gives a text several labels, and heads here give one: it can't be extracted")
        labels: Any = config.id2label
        return kind, Task("SEQ_CLS", "classify", [str(labels[index]) for index in sorted(labels)])
    if kind is not None and architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return kind, Task("CAUSAL_LM", "causal-lm")
    if kind is not None and architecture in _bare():
        return kind, Task(None, None)
    raise Unsupported(
        f"{tuned} is {architecture or 'of no named architecture'}: a sequence classifier, a causal language model or a "
        "bare backbone can be extracted"
    )


def _bare() -> set[str]:
    """Return the architectures without a head."""
    architectures: set[str] = set()
    for names in MODEL_MAPPING_NAMES.values():
        architectures |= {names} if isinstance(names, str) else set(names)
    return architectures


def _labels(config: PretrainedConfig, task: Task) -> dict[str, Any]:
    if task.peft != "SEQ_CLS":
        return {}
    keys = ("num_labels", "id2label", "label2id", "problem_type")
    return {key: getattr(config, key) for key in keys}


def shell_of(config: PretrainedConfig, head: HeadImplementation | None, folder: Path, whose: str) -> PreTrainedModel:
    """Return the base with the version's head on the meta device.

    Raises Unsupported for quantized files, or a head that Transformers can't build from a configuration.
    """
    if (quantized := getattr(config, "quantization_config", None)) is not None:
        kind = quantized.get("quant_method") if isinstance(quantized, Mapping) else type(quantized).__name__
        raise Unsupported(
            f"the files at {folder} are quantized ({kind}), and changes are folded into unquantized weights: name "
            "the folder of the base that they were made from with --base (base=...)"
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


def untied(model: PreTrainedModel, changed: Collection[str], whose: str) -> tuple[PretrainedConfig, frozenset[str]]:
    """Return the configuration to write, and the parameters that must be stored separately from now on.

    Two layers that share a weight stop sharing it where an adapter changes what one of them computes with. Raises
    Unsupported where Transformers ties them in every configuration.
    """
    ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
    separate = frozenset(key for pair in ties.items() if not {*pair}.isdisjoint(changed) for key in pair)
    config = model.config
    if not separate:
        return config, separate
    config.tie_word_embeddings = False
    with on_meta():
        rebuild: Any = type(model)
        ties_left = getattr(rebuild(config), "all_tied_weights_keys", {})
    if still_tied := sorted(separate & {*ties_left, *ties_left.values()}):
        raise Unsupported(
            f"{whose} changes {still_tied[0]}, which {type(model).__name__} shares with another layer in every "
            "configuration: load it with ahf.load, or export it with --layout peft"
        )
    return config, separate
