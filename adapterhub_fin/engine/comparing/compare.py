"""Compare versions, the bare base and a bag of words on the same rows, each of them new to every version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.comparing.checks import WORDS, check_bases, check_contenders, check_metric, check_options
from adapterhub_fin.engine.comparing.contenders import Contender, Loading, answer_all
from adapterhub_fin.engine.comparing.differences import Difference, Method, Pair, difference
from adapterhub_fin.engine.comparing.evidence import Evidence, Side
from adapterhub_fin.engine.comparing.pairing import paired
from adapterhub_fin.engine.comparing.rows import rows_to_compare
from adapterhub_fin.engine.comparing.verdict import caveats, verdicts
from adapterhub_fin.engine.comparing.written import write_all
from adapterhub_fin.engine.data.corpus import portable_options
from adapterhub_fin.engine.data.units import Units, check_units, units_of
from adapterhub_fin.engine.evaluation.evaluate import CorpusSource, SplitName, corpus_choice
from adapterhub_fin.engine.evaluation.measuring import LEVEL, RESAMPLES, Measuring, draw, values
from adapterhub_fin.engine.evaluation.questions import PLACE, Asking
from adapterhub_fin.engine.evaluation.slices import check_slices, slice_keys
from adapterhub_fin.engine.evaluation.written import Writing, check_writes
from adapterhub_fin.engine.inference.find import base_source, find_version
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.progress_lines import progress
from adapterhub_fin.reporting.report import check_installed
from adapterhub_fin.stats.bootstrap import percentile
from adapterhub_fin.stats.corrections import benjamini_hochberg, holm
from adapterhub_fin.stats.paired import ROUNDS, PairedTest
from adapterhub_fin.stats.sample_size import smallest_difference

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.manifest import Selection
else:
    np = Lazy("numpy")

ALL: Final = "all rows"
POWER: Final = 0.8


def compare(
    *contenders: str,
    corpus: CorpusSource = None,
    split: SplitName = "test",
    overrides: Sequence[str] = (),
    by: Sequence[str] = (),
    drop_seen: bool = False,
    units: Units | None = None,
    interval: Method = "percentile",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    rounds: int = ROUNDS,
    seed: int = 0,
    metric: str | None = None,
    generate: bool = False,
    labels: Sequence[str] | None = None,
    prompt: str = PLACE,
    chat: bool = False,
    similarity_base: str | Path | None = None,
    batch_size: int = 32,
    report: str | Path | None = None,
    base: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
    **decoding: Any,
) -> Evidence:
    """Return how two or more contenders differ on the same rows, and whether that could be chance.

    A contender is a version's reference, `base` (the bare base of the first version: a language model as it is, else a
    linear model on its embeddings) or `bag-of-words`. Without `corpus` the rows are those of the first version's
    recipe. Each metric has its own test: McNemar's where rows are right or wrong, else a permutation test; p-values are
    corrected over all metrics, slices and pairs (Holm). `by` slices as in `evaluate`. Rows of one group, or
    with one text, are drawn and swapped together, unless `units` is "row". `metric` decides, by default the one that
    the head selects on. `report` is a folder for a page with pictures.

    With `generate` the contenders write their answers, which are compared with the rows' own, as in `evaluate`; `base`
    is then asked as it is, and `base:4` after four training rows with their answers.

    Raises Refused where a version is known to have seen some of the rows (`drop_seen` leaves them out), BadRecipe for
    contenders that can't be compared, and what `evaluate` raises.

    Example:
        >>> evidence = ahf.compare("acme/tone@2", "acme/tone@1", "base")
        >>> evidence.verdicts[0]
        'acme/tone@2 is better than acme/tone@1 in macro_f1: +0.0213 (95 % interval +0.0071 to +0.0355, ...'
    """
    check_options(contenders, interval, level, resamples, rounds)
    shots = check_bases(contenders, generate=generate)
    asking = Asking(None if labels is None else tuple(labels), prompt, chat)
    if not generate and (asking != Asking() or similarity_base is not None or decoding):
        raise BadRecipe("labels, prompt, chat, similarity_base and decoding are of written answers: set generate")
    if report is not None:
        check_installed()
    references = [name for name in contenders if name not in shots and name != WORDS]
    versions = {name: find_version(name, registry, None, True, None) for name in references}
    first = check_contenders(contenders, versions)
    if generate:
        for resolved in versions.values():
            check_writes(resolved.version)
    check_metric(first, metric, written=generate)
    choice = corpus_choice(first.version, corpus, overrides)
    for resolved in versions.values():
        base_source(resolved, base, download)
    loading = Loading(base, batch_size, download)
    writing = None
    if generate:
        decided = {"seed": seed, **decoding}
        writing = (asking, Writing.prepare(first, decided, similarity_base, base, download))
    rows, unseen, digest = rows_to_compare(choice, versions, split, drop_seen=drop_seen, check_labels=not generate)
    check_slices(rows.measured, by)
    check_units(rows.measured, units)
    if writing is not None:
        answered, measuring, chosen = write_all(contenders, versions, shots, rows, *writing, loading, seed)
    else:
        answered, measuring, chosen = answer_all(contenders, versions, rows, loading)
    chosen = metric or chosen
    if chosen not in measuring.metrics:
        raise BadRecipe(
            f"no metric {chosen!r} is measured here to decide by: choose one of {', '.join(sorted(measuring.metrics))}"
        )
    answered = paired(answered, units_of(rows.measured, units))
    drawing: dict[str, Any] = {"resamples": resamples, "seed": seed}
    selections = {each.version.reference: each.version.manifest.selection for each in versions.values()}
    sides = [
        _side(each, measuring, unseen.get(each.name), selections.get(each.name), level, drawing) for each in answered
    ]
    parts = dict(_parts(answered, rows.measured, by))
    testing: dict[str, Any] = {"level": level, "method": interval, "rounds": rounds, "seed": seed}
    differences = _corrected(_differences(answered, parts, measuring, drawing, testing), level)
    evidence = Evidence(
        corpus=choice.name,
        corpus_options=portable_options(choice),
        corpus_digest=digest,
        split=split,
        rows=len(rows.measured),
        units="row" if len(np.unique(answered[0].outcomes.units)) == len(rows.measured) else "group",
        metric=chosen,
        sides=sides,
        differences=differences,
        verdicts=verdicts(differences, chosen, level),
        caveats=caveats(sides, rows.measured, {each.version.reference: each.version for each in versions.values()}),
        protocol={**drawing, **testing, "power": POWER, "correction": "Holm over all metrics, slices and pairs"},
        environment=environment(),
    )
    if report is None:
        return evidence
    from adapterhub_fin.engine.comparing.report import write_comparison

    return replace(evidence, page=write_comparison(Path(report), evidence))


def _side(
    contender: Contender,
    measuring: Measuring,
    unseen: bool | None,
    selection: Selection | None,
    level: float,
    drawing: Mapping[str, Any],
) -> Side:
    drawn = draw(measuring, contender.outcomes, **drawing)
    return Side(
        name=contender.name,
        described=contender.described,
        metrics=values(measuring, contender.outcomes),
        intervals={metric: percentile(array, level) for metric, array in drawn.items()},
        unseen=unseen if contender.name != WORDS else True,
        tried=None if selection is None else selection.best_of,
        efficiency=asdict(contender.efficiency),
    )


def _parts(answered: Sequence[Contender], table: Dataset, by: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the whole and each slice with a mask of its examples, (examples,)."""
    outcomes = answered[0].outcomes
    yield ALL, np.ones(len(outcomes.rows), dtype=bool)
    for each in by:
        keys = np.array(slice_keys(table, outcomes, each))
        yield from ((f"{each} = {key}", keys == key) for key in sorted(set(keys.tolist())))


def _differences(
    answered: Sequence[Contender],
    parts: Mapping[str, np.ndarray],
    measuring: Measuring,
    drawing: Mapping[str, Any],
    testing: Mapping[str, Any],
) -> list[Difference]:
    metrics = measuring.metrics
    pairs = list(combinations(answered, 2))
    differences = []
    with progress("testing", len(parts) * len(pairs) * len(metrics)) as advance:
        for part, mask in parts.items():
            sides = {each.name: each.outcomes.select(mask) for each in answered}
            drawn = {side: draw(measuring, outcomes, **drawing) for side, outcomes in sides.items()}
            for one, other in pairs:
                names = (one.name, other.name)
                pair = Pair(names, (sides[one.name], sides[other.name]), (drawn[one.name], drawn[other.name]), part)
                for metric in metrics.values():
                    differences.append(difference(pair, metric, measuring, **testing))
                    advance(1)
    return [each for each in differences if each is not None]


def _corrected(differences: Sequence[Difference], level: float) -> list[Difference]:
    """Return the differences with p-values corrected over all of them, and what these rows would show."""
    tested = [each for each in differences if isinstance(each.test, PairedTest)]
    p = [each.test.p for each in tested if isinstance(each.test, PairedTest)]
    corrected = {
        id(each): pair for each, pair in zip(tested, zip(holm(p), benjamini_hochberg(p), strict=True), strict=True)
    }
    completed = []
    for each in differences:
        family_wise, discovery = corrected.get(id(each), (None, None))
        seen = (
            None
            if each.error is None
            else smallest_difference(each.error, level=level, power=POWER, comparisons=len(tested))
        )
        completed.append(
            replace(
                each,
                corrected=None if family_wise is None else float(family_wise),
                discovery=None if discovery is None else float(discovery),
                smallest=seen,
            )
        )
    return completed
