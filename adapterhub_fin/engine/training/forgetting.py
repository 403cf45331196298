"""Hold a run to its limits on forgetting: measure before the adapter is attached, and with the picked checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin.engine.evaluation.forgetting import Answered, Forgetting, answer_rows, compared
from adapterhub_fin.engine.training.arguments import part_size
from adapterhub_fin.engine.training.distributed import own_device
from adapterhub_fin.errors import ForgetsTooMuch

if TYPE_CHECKING:
    from torch import nn

    from adapterhub_fin.engine.training.checks import Check
    from adapterhub_fin.engine.training.prepare import LoadedRun


def answers_before(loaded: LoadedRun, model: nn.Module, *, of_base: bool) -> dict[int, Answered]:
    """Return the answers before training by the number of the check: of those against the base, or of the others."""
    return {
        number: _answered(loaded, check, model)
        for number, check in enumerate(loaded.checks)
        if (check.against == "base") == of_base
    }


def measure(loaded: LoadedRun, model: nn.Module, before: Mapping[int, Answered]) -> list[Forgetting]:
    """Return what a run made the model forget on each corpus of its limits.

    Raises BadCorpus for an answer that is NaN or infinite.
    """
    return [
        compared(
            check.rows,
            before[number],
            _answered(loaded, check, model),
            against=check.against,
            seen=check.seen,
            at_most=check.at_most,
            seed=loaded.recipe.training.seed,
        )
        for number, check in enumerate(loaded.checks)
    ]


def check_limits(name: str, measured: Sequence[Forgetting], folder: Path) -> None:
    """Raise ForgetsTooMuch where a metric got worse than its limit allows; it says how to go on."""
    if too_much := [each for each in measured if each.is_too_much]:
        said = "; ".join(each.sentence() for each in too_much)
        raise ForgetsTooMuch(
            f"{name} forgot too much, so that no version is stored: {said}. The run is kept in {folder}: raise at_most "
            "under training.forgetting and go on with --resume (resume=True; a series or a sweep goes on without it), "
            "which trains no step again, or train otherwise with --restart (restart=True)"
        )


def _answered(loaded: LoadedRun, check: Check, model: nn.Module) -> Answered:
    if not getattr(model, "is_quantized", False):
        model.to(own_device())  # where the Trainer moves it too
    training = loaded.recipe.training
    return answer_rows(
        check.rows, model, loaded.base_tokenizer, training.max_length, batch_size=2 * part_size(training)
    )
