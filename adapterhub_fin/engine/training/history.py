"""Turn the Trainer's log into the history that the registry stores, and into the mean loss of each epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.model.history import History

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.stages import Stages

MOST = 100_000  # steps that a history holds: of a longer run, every second step, or every third and so on
_TRAINING = ("step", "epoch", "loss", "learning_rate", "grad_norm")
_SPEED = ("_runtime", "_per_second", "_preparation_time")  # they differ from run to run


def run_history(log: Iterable[Mapping[str, Any]], stages: Stages | None = None) -> History:
    """Return a run's history: `training` by step, and `validation` by step with a column for each metric.

    Numbers that are NaN or infinite become None. `grad_norm` is the norm before clipping. Both have a column `stage`,
    counted from 1, where the run has stages.
    """
    entries = list(log)
    if stages is not None:
        entries = [{**entry, "stage": stages.stage_of(entry["step"]) + 1} for entry in entries]
    training = [entry for entry in entries if "loss" in entry]
    validation = [_validation(entry) for entry in entries if any(name.startswith("eval_") for name in entry)]
    thinned = training[:: math.ceil(len(training) / MOST) or 1]
    metrics = sorted({name for entry in validation for name in entry} - {"step", "epoch"})
    names = _TRAINING if stages is None else (*_TRAINING, "stage")
    return {"training": _columns(thinned, names), "validation": _columns(validation, ("step", "epoch", *metrics))}


def losses_by_epoch(log: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return the mean training loss over the steps of each epoch, the last of which may be a part of one."""
    epochs: dict[int, list[float]] = defaultdict(list)
    for entry in log:
        if "loss" in entry:
            epochs[math.ceil(entry["epoch"])].append(entry["loss"])
    return [math.fsum(losses) / len(losses) for _, losses in sorted(epochs.items())]


def _validation(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("eval_"): value for name, value in entry.items() if not name.endswith(_SPEED)}


def _columns(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[float | int | None]]:
    return {name: [_number(entry.get(name)) for entry in entries] for name in names}


def _number(value: Any) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(value) if value is not None and math.isfinite(value) else None
