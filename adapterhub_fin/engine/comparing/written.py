"""Let contenders write their answers: versions, and the bare base with and without examples in the prompt."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.comparing.contenders import (
    Contender,
    Efficiency,
    Loading,
    adapter_on_base,
    footprint,
    stored_size,
)
from adapterhub_fin.engine.comparing.rows import Rows
from adapterhub_fin.engine.evaluation.measuring import Measuring, values
from adapterhub_fin.engine.evaluation.questions import Asked, Asking, Question
from adapterhub_fin.engine.evaluation.written import Writing, write_answers
from adapterhub_fin.engine.inference.find import ResolvedVersion
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")


def write_all(
    contenders: Sequence[str],
    versions: Mapping[str, ResolvedVersion],
    shots: Mapping[str, int],
    rows: Rows,
    asking: Asking,
    writing: Writing,
    loading: Loading,
    seed: int,
) -> tuple[list[Contender], Measuring, str]:
    """Return what each contender writes, how that is measured, and the name of the metric that decides by default.

    It is measured by the metrics that are defined for each contender. `shots` says how many answered rows of the
    training part, drawn with the seed, stand in the prompts of the bare base. Raises BadRecipe where there are fewer.
    """
    asked = asking.ask(rows.measured, f"corpus {rows.corpus}, {rows.split} part")
    first = next(iter(versions.values()))
    questions = dict.fromkeys(versions, asked)
    for name, count in shots.items():
        examples = asking.ask(rows.parts["train"], f"corpus {rows.corpus}, train part") if count else None
        questions[name] = asked if examples is None else with_examples(asked, examples, count, seed)
    answered, measured = [], []
    for name in contenders:
        resolved, own = versions.get(name, first), 0
        called = resolved.version.manifest.base.called
        if name in versions:
            adapter = load(resolved.version, base=loading.base, registry=resolved.registry, download=loading.download)
            described, own = f"{resolved.version.manifest.method.name} on {called}", stored_size(resolved)
        else:
            adapter, count = adapter_on_base(resolved, loading), shots[name]
            described = f"{called} after {count} answered rows" if count else f"{called} as it is"
        begun = time.perf_counter()
        written = write_answers(adapter, questions[name], writing, loading.batch_size)
        rate = len(asked.questions) / (time.perf_counter() - begun)
        cost = Efficiency(own, footprint(adapter), None, rate)
        called = resolved.version.reference if name in versions else name
        answered.append(Contender(called, described, written.outcomes, cost))
        measured.append(written.measuring)
    defined = [values(way, each.outcomes) for way, each in zip(measured, answered, strict=True)]
    names = [name for name in measured[0].metrics if all(math.isfinite(side[name]) for side in defined)]
    return answered, measured[0].only(names), "rouge_l" if asked.labels is None else "label_accuracy"


def with_examples(asked: Asked, examples: Asked, shots: int, seed: int) -> Asked:
    """Return questions whose prompts begin with `shots` answered examples, the same seeded draw for every question.

    A conversation's examples stand after its system turns, and a text's before it, each with its answer on a line of
    its own. Raises BadRecipe where there are fewer examples.
    """
    if len(examples.questions) < shots:
        raise BadRecipe(f"base:{shots} needs {shots} training rows, and there are {len(examples.questions)}: ask less")
    drawn = np.random.default_rng(seed).choice(len(examples.questions), shots, replace=False)
    shown = [examples.questions[index] for index in drawn.tolist()]
    return replace(
        asked, questions=[Question(_after(question.prompt, shown), question.truth) for question in asked.questions]
    )


def _after(prompt: Any, shown: Sequence[Question]) -> Any:
    if isinstance(prompt, str):
        return "".join(f"{example.prompt}\n{example.truth}\n\n" for example in shown) + prompt + "\n"
    system = [turn for turn in prompt if turn["role"] == "system"]
    turns: list[Any] = []
    for example in shown:
        turns += [turn for turn in example.prompt if turn["role"] != "system"]  # type: ignore[index]
        turns.append({"role": "assistant", "content": example.truth})
    return [*system, *turns, *(turn for turn in prompt if turn["role"] != "system")]
