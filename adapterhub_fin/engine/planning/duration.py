"""How long a run takes, from what its operations multiply and move and how fast this machine does both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterhub_fin.engine.planning.batches import answer_batches, answer_tokens, training_tokens

if TYPE_CHECKING:
    from adapterhub_fin.engine.planning.dry_run import DryRun, Phase
    from adapterhub_fin.engine.planning.machine import Speed
    from adapterhub_fin.engine.planning.memory_ledger import Work
    from adapterhub_fin.engine.training.prepare import PreparedRun


def duration(told: DryRun, draft: PreparedRun, speed: Speed) -> float:
    """Seconds of all epochs, their evaluations and the test, without loading and saving.

    Each operation takes what it multiplies or what it moves, whichever is longer, and the time to start it; work grows
    with the tokens of a batch, which for attention on long rows is too little below the longest batch and never above.
    """
    training = draft.recipe.training
    parts = draft.steps * training.accumulate
    seconds = draft.steps * (_work(told.update, speed) + len(told.update) * speed.start)
    seconds += _phase(told.training, parts, training.epochs * training_tokens(draft), speed)
    for part, times in (("validation", training.epochs), ("test", 1.0)):
        batches = times * len(answer_batches(draft, part))
        seconds += _phase(told.evaluation, batches, times * answer_tokens(draft, part), speed)
    return seconds


def _phase(phase: Phase, batches: float, tokens: float, speed: Speed) -> float:
    per_token = _work(phase.work, speed) / (phase.rows * phase.length)
    return tokens * per_token + batches * len(phase.work) * speed.start


def _work(work: Sequence[Work], speed: Speed) -> float:
    return sum(max(each.flops / speed.flops, each.moved / speed.bytes) for each in work)
