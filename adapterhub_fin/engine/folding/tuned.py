"""What a fine-tuned model is: its task, and its shape without values, built on its base's configuration."""

from __future__ import annotations

from collections.abc import Sequence
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

TRAINING_ALONE = ("dropout", "initializer")  # parts of settings that say how a model was trained, not what it computes


@dataclass(frozen=True)
class Task:
    """What the tuned model answers."""

    peft: str | None  # PEFT's task type
    name: str | None  # of the head here
    labels: Sequence[str] | None = None


def tuned_shell(tuned: Path, base: Path) -> tuple[PreTrainedModel, Task]:
    """The tuned model without values, as its base's configuration makes it; WrongBase where the two differ."""
    if not (tuned / "config.json").is_file():
        raise BaseNotFound(f"{tuned} holds no config.json: name the folder of a fine-tuned model")
    config, origin = load_config(tuned), load_config(base)
    for folder, each in ((tuned, config), (base, origin)):
        if getattr(each, "quantization_config", None) is not None:
            raise Unsupported(f"the weights at {folder} are quantized: name the folder of the model before that")
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
    known = VOLATILE | {key for key in {*one, *other} if any(part in key for part in TRAINING_ALONE)}
    if differing := sorted(key for key in {*one, *other} - known if one.get(key) != other.get(key)):
        raise WrongBase(
            f"the tuned model and its base are configured apart in {', '.join(differing)}, so that no change of "
            "weights makes one the other: name the base that it was tuned from"
        )


def _task(config: PretrainedConfig, tuned: Path) -> tuple[Any, Task]:
    named = (config.architectures or [""])[0]
    kind = getattr(transformers, named, None)
    if kind is not None and named in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values():
        if config.problem_type == "regression" or config.num_labels == 1:
            return kind, Task("SEQ_CLS", "regress")
        if config.problem_type == "multi_label_classification":
            raise Unsupported(f"{tuned} gives a text several labels, and a head here gives one: it can't be extracted")
        labels: Any = config.id2label
        return kind, Task("SEQ_CLS", "classify", [str(labels[place]) for place in sorted(labels)])
    if kind is not None and named in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return kind, Task("CAUSAL_LM", "causal-lm")
    if kind is not None and named in _bare():
        return kind, Task(None, None)
    raise Unsupported(
        f"{tuned} is {named or 'of no named architecture'}: a sequence classifier, a causal language model or a bare "
        "backbone can be extracted"
    )


def _bare() -> set[str]:
    """The architectures without a head."""
    found: set[str] = set()
    for names in MODEL_MAPPING_NAMES.values():
        found |= {names} if isinstance(names, str) else set(names)
    return found


def _labels(config: PretrainedConfig, task: Task) -> dict[str, Any]:
    if task.peft != "SEQ_CLS":
        return {}
    keys = ("num_labels", "id2label", "label2id", "problem_type")
    return {key: getattr(config, key) for key in keys}
