"""Compare versions, the bare base and a bag of words on the same rows, each of them new to every version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.progress import progress
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.comparing.contenders import (
    BASE,
    WORDS,
    Contender,
    Rows,
    answered_by_base,
    answered_by_version,
    answered_by_words,
    in_label_order,
)
from adapterhub_fin.engine.comparing.differences import Difference, Method, Pair, difference
from adapterhub_fin.engine.comparing.evidence import Evidence, Side
from adapterhub_fin.engine.comparing.verdict import caveats, verdicts
from adapterhub_fin.engine.data.corpus import check_there, corpus_digest, portable_options, read_rows
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import SPLITS, divide
from adapterhub_fin.engine.evaluation.evaluate import CorpusSource, SplitName, check_labels_known, corpus_choice
from adapterhub_fin.engine.evaluation.measuring import LEVEL, RESAMPLES, draw, values
from adapterhub_fin.engine.evaluation.metrics import metrics_for
from adapterhub_fin.engine.evaluation.seen import seen_texts
from adapterhub_fin.engine.evaluation.slices import slice_keys
from adapterhub_fin.engine.inference.find import ResolvedVersion, base_source, find_version
from adapterhub_fin.errors import BadCorpus, BadRecipe, Refused, Unsupported
from adapterhub_fin.reporting.report import check_installed
from adapterhub_fin.stats.bootstrap import percentile
from adapterhub_fin.stats.corrections import benjamini_hochberg, holm
from adapterhub_fin.stats.paired import ROUNDS, PairedTest
from adapterhub_fin.stats.sample_size import smallest_difference

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.manifest import Selection
else:
    np = Lazy("numpy")

Units = Literal["row", "group"]
ALL: Final = "all rows"
POWER: Final = 0.8
NAMED: Final = 3  # rows that one refusal names


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
    batch_size: int = 32,
    report: str | Path | None = None,
    base: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
) -> Evidence:
    """Return how two or more contenders differ on the same rows, and whether that could be chance.

    A contender is a version's reference, `base` (the bare base of the first version: a language model as it is, else a
    linear model on its embeddings) or `bag-of-words`. Without `corpus` the rows are those of the first version's
    recipe. Each metric has its own test: McNemar's where rows are right or wrong, else a permutation test; p-values are
    corrected over all metrics, slices and pairs (Holm). `by` slices as in `evaluate`. Rows of one group are drawn and
    swapped together where the corpus has groups, unless `units` is "row". `report` is a folder for a page with
    pictures.

    Raises Refused where a version is known to have seen some of the rows (`drop_seen` leaves them out), BadRecipe for
    contenders that can't be compared, and what `evaluate` raises.

    Example:
        >>> evidence = ahf.compare("acme/tone@2", "acme/tone@1", "base")
        >>> evidence.verdicts[0]
        'acme/tone@2 is better than acme/tone@1 in macro_f1: +0.0213 (95 % interval +0.0071 to +0.0355, ...'
    """
    _check_options(contenders, interval, level, resamples, rounds)
    if report is not None:
        check_installed()
    versions = {
        name: find_version(name, registry, None, True, None) for name in contenders if name not in (BASE, WORDS)
    }
    first = _check_contenders(contenders, versions)
    choice = corpus_choice(first.version, corpus, overrides)
    check_there(choice)
    for resolved in versions.values():
        base_source(resolved, base, download)
    rows, unseen, digest = _rows(choice, versions, split, drop_seen)
    head = _head(first)
    answered = [
        _answer(name, versions, first, rows, base=base, batch_size=batch_size, download=download) for name in contenders
    ]
    answered = _paired(answered, versions, head, rows.measured, units)
    name = _head_name(first)
    drawing: dict[str, Any] = {"resamples": resamples, "seed": seed}
    selections = {each.version.reference: each.version.manifest.selection for each in versions.values()}
    sides = [
        _side(each, name, head, unseen.get(each.name), selections.get(each.name), level, drawing) for each in answered
    ]
    parts = dict(_parts(answered, rows.measured, by))
    testing: dict[str, Any] = {"level": level, "method": interval, "rounds": rounds, "seed": seed}
    differences = _corrected(_differences(answered, parts, name, head, drawing, testing), level)
    metric = str(head.selects_on)
    evidence = Evidence(
        corpus=choice.name,
        corpus_options=portable_options(choice),
        corpus_digest=digest,
        split=split,
        rows=len(rows.measured),
        units="row" if len(np.unique(answered[0].outcomes.units)) == len(rows.measured) else "group",
        metric=metric,
        sides=sides,
        differences=differences,
        verdicts=verdicts(differences, metric, level),
        caveats=caveats(sides, rows.measured, {each.version.reference: each.version for each in versions.values()}),
        protocol={**drawing, **testing, "power": POWER, "correction": "Holm over all metrics, slices and pairs"},
        environment=environment(),
    )
    if report is None:
        return evidence
    from adapterhub_fin.engine.comparing.report import write_comparison

    return replace(evidence, page=write_comparison(Path(report), evidence))


def _check_options(contenders: Sequence[str], interval: str, level: float, resamples: int, rounds: int) -> None:
    if len(contenders) < 2:
        raise BadRecipe(f"compare needs two contenders or more: name another version, {BASE} or {WORDS}")
    if twice := sorted({name for name in contenders if contenders.count(name) > 1}):
        raise BadRecipe(f"{twice[0]} is named twice: a version can't be compared with itself")
    if interval not in ("percentile", "bca"):
        raise BadRecipe(f"interval is {interval!r}: choose percentile or bca")
    if not 0.5 <= level < 1:
        raise BadRecipe(f"level is {level}: give a share from 0.5 to below 1, such as 0.95")
    if resamples < 100 or rounds < 100:
        raise BadRecipe(f"resamples is {resamples} and rounds {rounds}: give at least 100 of each")


def _check_contenders(contenders: Sequence[str], versions: Mapping[str, ResolvedVersion]) -> ResolvedVersion:
    """Return the first version. Raises BadRecipe where the versions can't be measured alike, and names both sides."""
    if not versions:
        raise BadRecipe(f"{' and '.join(contenders)}: compare them with a version, which says what the task is")
    first, *others = versions.values()
    by_digest: dict[str, str] = {}
    for name, resolved in versions.items():
        if (same := by_digest.setdefault(resolved.version.digest, name)) != name:
            raise BadRecipe(f"{same} and {name} are one version, {resolved.version.reference}: name another")
        if resolved.version.manifest.head is None or resolved.head is None:
            raise BadRecipe(f"{name} has no head, and so no answers to compare: train one, or use ahf probe")
    for other in others:
        one, two = first.version, other.version
        if set(metrics_for(_head_name(first), first.head)) != set(metrics_for(_head_name(other), other.head)):
            raise BadRecipe(
                f"{one.reference} ({_head_name(first)}) and {two.reference} ({_head_name(other)}) have other "
                "metrics: compare versions of one task"
            )
        labels = [set(each.labels or ()) for each in (_head(first), _head(other))]
        if labels[0] != labels[1]:
            raise BadRecipe(
                f"{one.reference} answers {', '.join(sorted(labels[0]))} and {two.reference} "
                f"{', '.join(sorted(labels[1]))}: compare versions with the same labels"
            )
    return first


def _head(resolved: ResolvedVersion) -> HeadImplementation:
    assert resolved.head is not None, "refused before"
    return resolved.head


def _head_name(resolved: ResolvedVersion) -> str:
    head = resolved.version.manifest.head
    assert head is not None, "refused before"
    return head.name


def _rows(
    choice: CorpusChoice, versions: Mapping[str, ResolvedVersion], split: SplitName, drop_seen: bool
) -> tuple[Rows, dict[str, bool | None], str]:
    """Return the rows that all contenders answer, whether they are known to be new to each version, and the digest."""
    if split not in (*SPLITS, "all"):
        raise BadRecipe(f"there is no split {split!r}: choose {', '.join(SPLITS)} or all")
    first = next(iter(versions.values()))
    table = read_rows(choice, _head_name(first)).table
    parts = divide(table, choice.splitter, choice.called).splits
    measured = table if split == "all" else parts[split]
    for resolved in versions.values():
        check_labels_known(measured, _head(resolved).labels, choice.called, split)
    seen, unseen = set[int](), dict[str, bool | None]()
    keys = text_keys(measured)
    for resolved in versions.values():
        overlap, complete = _overlap(resolved, keys)
        reference = resolved.version.reference
        if overlap and not drop_seen:
            named = ", ".join(map(str, overlap[:NAMED])) + (", ..." if len(overlap) > NAMED else "")
            raise Refused(
                f"{reference} saw {len(overlap):,} of these {len(measured):,} rows in training (rows {named} of the "
                f"{split} part), and is not compared on them: take another corpus or part, or drop_seen (--drop-seen) "
                "to leave them out for all"
            )
        seen.update(overlap)
        unseen[reference] = True if complete else None
    kept = [row for row in range(len(measured)) if row not in seen]
    if len(kept) < 2:
        raise BadCorpus(f"corpus {choice.called}, {split} part: {len(kept)} rows are left to compare on: take others")
    rows = measured.select(kept) if seen else measured
    return Rows({**parts, "test": rows}, rows, choice.called, split), unseen, corpus_digest(table)


def _overlap(resolved: ResolvedVersion, keys: Sequence[str] | None) -> tuple[list[int], bool]:
    """Return the rows that a version saw in training, and whether all that it saw is known."""
    from adapterhub_fin_registry.registry_chain import LocatedVersion

    if keys is None:
        return [], False
    texts, complete = seen_texts(LocatedVersion(resolved.registry, resolved.version), keys)
    return [row for row, key in enumerate(keys) if key in texts], complete


def _answer(
    name: str, versions: Mapping[str, ResolvedVersion], first: ResolvedVersion, rows: Rows, **options: Any
) -> Contender:
    if name == WORDS:
        return answered_by_words(first, rows)
    if name == BASE:
        return answered_by_base(first, rows, **options)
    return answered_by_version(versions[name], rows, **options)


def _paired(
    answered: Sequence[Contender],
    versions: Mapping[str, ResolvedVersion],
    head: HeadImplementation,
    table: Dataset,
    units: Units | None,
) -> list[Contender]:
    """Return the contenders with outcomes that stand side by side, row by row, in one order of the labels.

    Raises Unsupported where their examples differ, and BadRecipe where their losses are in other units.
    """
    heads = {each.version.reference: _head(each) for each in versions.values()}
    sides = [
        replace(each, outcomes=in_label_order(each.outcomes, heads.get(each.name, head), head)) for each in answered
    ]
    for other in sides[1:]:
        _check_pairs(sides[0], other)
    if units == "group" and "group" not in table.column_names:
        raise BadRecipe("units is group, and the corpus has no groups: name a column by its option group")
    if "group" not in table.column_names or units == "row":
        return sides
    _, codes = np.unique(np.array([str(cell) for cell in table["group"][:]]), return_inverse=True)
    return [replace(each, outcomes=replace(each.outcomes, units=codes[each.outcomes.rows])) for each in sides]


def _check_pairs(one: Contender, other: Contender) -> None:
    a, b = one.outcomes, other.outcomes
    if not np.array_equal(a.rows, b.rows):
        raise Unsupported(
            f"{one.name} makes {len(a.rows):,} examples of the rows and {other.name} {len(b.rows):,}, so that they "
            "can't be paired: compare versions with one tokenizer and one max_length"
        )
    for sides in zip(_arrays(a.predicted), _arrays(b.predicted), strict=True):
        weights = [
            array[:, 1] for array in sides if array.ndim == 2 and array.shape[1] == 2 and array.dtype.kind == "f"
        ]
        if len(weights) == 2 and not np.array_equal(weights[0], weights[1]):
            raise BadRecipe(
                f"loss and perplexity of {one.name} are per token of {int(weights[0].sum()):,}, and those of "
                f"{other.name} of {int(weights[1].sum()):,}: their tokenizers differ, and so do the units"
            )


def _arrays(values: Any) -> Iterator[np.ndarray]:
    yield from values.values() if isinstance(values, Mapping) else (values,)


def _side(
    contender: Contender,
    name: str,
    head: HeadImplementation,
    unseen: bool | None,
    selection: Selection | None,
    level: float,
    drawing: Mapping[str, Any],
) -> Side:
    drawn = draw(name, head, contender.outcomes, **drawing)
    return Side(
        name=contender.name,
        described=contender.described,
        metrics=values(name, head, contender.outcomes),
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
    name: str,
    head: HeadImplementation,
    drawing: Mapping[str, Any],
    testing: Mapping[str, Any],
) -> list[Difference]:
    metrics = metrics_for(name, head)
    pairs = list(combinations(answered, 2))
    differences = []
    with progress("testing", len(parts) * len(pairs) * len(metrics)) as advance:
        for part, mask in parts.items():
            sides = {each.name: each.outcomes.select(mask) for each in answered}
            drawn = {side: draw(name, head, outcomes, **drawing) for side, outcomes in sides.items()}
            for one, other in pairs:
                names = (one.name, other.name)
                pair = Pair(names, (sides[one.name], sides[other.name]), (drawn[one.name], drawn[other.name]), part)
                for metric in metrics.values():
                    differences.append(difference(pair, metric, name, head, **testing))
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
        held, discovery = corrected.get(id(each), (None, None))
        seen = (
            None
            if each.error is None
            else smallest_difference(each.error, level=level, power=POWER, comparisons=len(tested))
        )
        completed.append(
            replace(
                each,
                corrected=None if held is None else float(held),
                discovery=None if discovery is None else float(discovery),
                smallest=seen,
            )
        )
    return completed
