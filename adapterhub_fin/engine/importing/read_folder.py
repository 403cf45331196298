"""Read a PEFT folder that another trainer wrote: its configuration, and the head that it stores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterhub_fin.engine.importing.recognise import check_weights, read_config
from adapterhub_fin.engine.peft.finite import check_weights_finite
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.adapter_files import CONFIG, OUTPUTS, WEIGHTS, bare_name, head_modules, is_prompt
from adapterhub_fin.plugin.base_changes import unrepeatable
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin_registry.io.safetensors_header import TensorInfo, read_header

# PEFT's tasks. If no head plugin serves one, its adapter loads onto a model with a head, or for `embed`.
TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")

MADE_UP = 100_000  # labels that are named LABEL_0 and so on, at most


@dataclass(frozen=True)
class PeftFolder:
    """Hold what was read from a PEFT folder."""

    config: Mapping[str, Any]  # adapter_config.json, verbatim
    head: Mapping[str, Any] | None  # the manifest's `head`
    modules_to_save: Sequence[str]  # modules whose full weights are in the file


def read_folder(folder: Path, labels: Sequence[str] | None, called: Path | None = None) -> PeftFolder:
    """Read and check a PEFT folder; `called` is its name in messages if its path would mean nothing to the user.

    Raises NotAnAdapter, which says what a folder of something else is and what to do.
    """
    called = called or folder
    config = read_config(folder, called)
    check_weights(folder, called)
    check_weights_finite(folder / WEIGHTS, called / WEIGHTS)
    _check_task(config, called)
    if reason := unrepeatable(config):
        raise NotAnAdapter(f"{called}: {reason}")
    header = read_header(folder / WEIGHTS, str(called / WEIGHTS))
    shapes = {bare_name(name, config): tuple(info.shape) for name, info in header.items()}
    modules = head_modules(config, shapes)
    task = config.get("task_type")
    head = None
    if task is not None:
        head_labels = _labels(labels, _outputs(shapes, modules), called) if task == "SEQ_CLS" else None
        head = {"name": _head_of(str(task)), "labels": head_labels, "modules_to_save": modules}
    return PeftFolder(config, head, modules)


def is_unserved(head: str) -> bool:
    """Return whether a recorded head is a task of PEFT's that no installed plugin serves."""
    return head in map(_own_name, TASKS) and head not in extensions().all(Head)


def task_of(folder: Path, header: Mapping[str, TensorInfo] | None = None) -> tuple[str | None, int | None]:
    """Return PEFT's task of a stored folder, and the number of outputs of its stored head; None for each if unknown.

    `header` is that of its file, if it was read.
    """
    if not (folder / CONFIG).is_file():
        return None, None  # a third party's method, with its own files
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    tensors = header or read_header(folder / WEIGHTS)
    shapes = {bare_name(name, config): info.shape for name, info in tensors.items()}
    return config.get("task_type"), next((shapes[name][0] for name in OUTPUTS if shapes.get(name)), None)


def _own_name(task: str) -> str:
    return task.lower().replace("_", "-")


def _check_task(config: Mapping[str, Any], called: Path) -> None:
    task = config.get("task_type")
    if task is not None and task not in TASKS:
        raise NotAnAdapter(
            f"{called} is for a task {str(task)[:40]!r}, which PEFT doesn't have: write one of {', '.join(TASKS)}"
        )
    if task is None and is_prompt(config):
        raise NotAnAdapter(
            f"{called} holds a prompt and no task_type, without which PEFT can't attach it: write one of "
            f"{', '.join(TASKS)} as task_type into its adapter_config.json"
        )


def _head_of(task: str) -> str:
    """Return the head plugin for a PEFT task, or the task's own name if no plugin serves it."""
    serving = (name for name, head in extensions().all(Head).items() if head.task == task)
    return next(serving, _own_name(task))


def _outputs(shapes: Mapping[str, tuple[int, ...]], modules: Sequence[str]) -> int | None:
    """Return the number of labels of a stored head: 0 if none is stored, None if its last layer has an unknown name."""
    return next((shapes[name][0] for name in OUTPUTS if shapes.get(name)), None if modules else 0)


def _labels(labels: Sequence[str] | None, outputs: int | None, folder: Path) -> list[str]:
    if outputs is None and labels is None:
        raise NotAnAdapter(
            f"{folder} has a head whose labels can't be counted here: give them, with --labels or labels=[...]"
        )
    if outputs == 0:
        raise NotAnAdapter(
            f"{folder} is a classifier without its head: {WEIGHTS} holds no classifier or score weights, so any load "
            "would answer at random; save it again with modules_to_save"
        )
    if labels is None and outputs is not None and outputs > MADE_UP:  # an empty tensor may claim any number of rows
        raise NotAnAdapter(f"{folder} has a head of {outputs} labels: give them, with --labels or labels=[...]")
    if labels is None:
        return [f"LABEL_{number}" for number in range(outputs or 0)]
    if outputs is not None and len(labels) != outputs:
        raise NotAnAdapter(f"{len(labels)} labels were given and the head has {outputs} outputs")
    return list(labels)
