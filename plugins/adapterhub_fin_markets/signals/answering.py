"""Answer each text with the version that its own time allows, and refuse the others, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

import adapterhub_fin as ahf
from adapterhub_fin.plugin import BadRecipe, Estimate, Prediction, Version, parse_reference, progress
from adapterhub_fin_markets.signals.cache import AnswerCache
from adapterhub_fin_markets.signals.calibration import Calibration
from adapterhub_fin_markets.signals.directions import by_direction, columns_of, kind_of
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.texts import DatedTexts

PART: Final = 2048  # texts that are answered before their answers are stored
Loading = Mapping[str, Any]  # base, device, download, batch_size and progress


@dataclass(frozen=True, eq=False)
class Answered:
    """Hold the answers to texts; arrays are (texts,), and NaN where a text was refused."""

    probabilities: np.ndarray  # (texts, 3): SELL, HOLD, BUY; NaN of a regression
    score: np.ndarray  # probability of BUY less that of SELL, or the estimate
    versions: Sequence[Version | None]
    refused: Mapping[str, int]  # texts by the reason that no version answers them
    estimates: bool  # whether the head is a regression
    digests: Mapping[str, Version] = field(default_factory=dict)  # the versions that answered

    def calibrated(self, calibration: Calibration) -> Answered:
        """Return the answers with calibrated probabilities."""
        probabilities = np.full_like(self.probabilities, np.nan)
        rows = ~np.isnan(self.score)
        probabilities[rows] = calibration.apply(self.probabilities[rows])
        return replace(self, probabilities=probabilities, score=probabilities[:, 2] - probabilities[:, 0])

    @cached_property
    def confidence(self) -> np.ndarray:
        """Return the probability of the likeliest direction, (texts,), NaN of a regression."""
        highest: np.ndarray = self.probabilities.max(1)
        return highest


def choose_versions(
    reference: Any, available_at: np.ndarray, options: SignalOptions, registry: Any
) -> tuple[Any, dict[int, str], int]:
    """Return the version of each text by its instant, (texts,), why others have none, and how many look ahead.

    With `as_of` a date or None, one version answers, of texts later than its knowledge end; an alias must have named it
    at the text's time already. With `allow_lookahead`, texts without a version are answered by the reference as it
    stands.
    """
    given: dict[str, Any] = {"registry": registry, "yanked": options.yanked}
    versions = ahf.versions_as_of(reference, available_at, options.include_base, **given)
    registry = versions.registry
    if options.as_of != "row":
        one, why, passed = _one(reference, options, registry)
        # Of each text it is asked again whether that version had ended, and what the alias named then.
        checked = ahf.versions_as_of(one, available_at, options.include_base, registry=registry)
        for index, version in enumerate(versions):
            if checked[index] is not None and _moves(reference) and (version is None or version.digest != one.digest):
                checked[index] = None
                checked.reasons[index] = f"{reference} didn't name {one.reference} then, as {why}"
        checked.passed_over = {} if passed is None else dict.fromkeys(range(len(checked)), passed)
        versions = checked
    reasons, late = dict(versions.reasons), 0
    if options.allow_lookahead and reasons:
        standing = registry.resolve(reference) if options.as_of == "row" else _one(reference, options, registry)[0]
        late = len(reasons)
        for index in reasons:
            versions[index] = standing
        reasons = {}
    return versions, reasons, late


def _one(reference: Any, options: SignalOptions, registry: Any) -> tuple[Version, str, Version | None]:
    """Return the version that answers all texts, and a yanked one in whose place it does.

    Raises LookAhead where the date allows none.
    """
    if options.as_of is None:
        return registry.resolve(reference), "it does now", None
    given: dict[str, Any] = {"registry": registry, "yanked": options.yanked}
    dated = ahf.versions_as_of(reference, [options.as_of], options.include_base, **given)
    if dated[0] is None:
        raise ahf.LookAhead(f"as of {options.as_of} nothing answers: {dated.reasons[0]}; give a later date")
    return dated[0], f"it does as of {options.as_of}", dated.passed_over.get(0)


def _moves(reference: Any) -> bool:
    """Return whether a reference is an alias, which may have named another version before."""
    parsed = parse_reference(reference) if isinstance(reference, str) else reference
    return getattr(parsed, "alias", None) is not None


def answer_texts(
    texts: DatedTexts, versions: Any, reasons: Mapping[int, str], options: SignalOptions, loading: Loading
) -> Answered:
    """Return the answers to texts by the version of each, from the cache or else from the adapters.

    Raises BadRecipe for a head that can't be read as directions, and what loading and answering raise.
    """
    groups: dict[Version, list[int]] = versions.groups()
    kinds = {kind_of(version) for version in groups}
    if len(kinds) > 1:
        raise BadRecipe("some versions classify and others estimate: name one by its number, as acme/tone@3")
    columns = {
        version: columns_of(version.manifest.head.labels, options.directions, version.reference)
        for version in groups
        if version.manifest.head is not None and version.manifest.head.labels
    }
    if options.directions and not columns:
        raise BadRecipe("directions are given, and the head estimates a number: give bound instead")
    count, cache = len(texts), AnswerCache()
    probabilities, score = np.full((count, 3), np.nan), np.full(count, np.nan)
    missing = list(versions)
    for version, rows in groups.items():
        stored = cache.recall(version.digest, [texts.input_digests[texts.input[row]] for row in rows])
        for row in rows:
            if (scores := stored.get(texts.input_digests[texts.input[row]])) is not None:
                _fill(probabilities, score, row, scores, columns.get(version))
                missing[row] = None
    unanswered = ahf.DatedVersions(missing, {}, versions.registry)
    for version, rows, scores in _answers(texts, unanswered, cache, loading):
        for row, each in zip(rows, scores, strict=True):
            _fill(probabilities, score, row, each, columns.get(version))
    return Answered(
        probabilities=probabilities,
        score=score,
        versions=list(versions),
        refused=Counter(reasons.values()),
        estimates=kinds == {"estimate"},
        digests={version.digest: version for version in groups},
    )


def _fill(
    probabilities: np.ndarray, score: np.ndarray, row: int, scores: np.ndarray, columns: np.ndarray | None
) -> None:
    if columns is None:
        score[row] = scores[0]
        return
    probabilities[row] = by_direction(scores[None], columns)[0]
    score[row] = probabilities[row, 2] - probabilities[row, 0]


def _answers(texts: DatedTexts, versions: Any, cache: AnswerCache, loading: Loading) -> Any:
    """Yield each version that must be loaded with rows and their scores, (rows, labels), and store them."""
    total = sum(version is not None for version in versions)
    batch_size = loading.get("batch_size", 32)
    if not total:
        return
    with progress("answering", total, shown=bool(loading.get("progress"))) as advance:
        for adapter, rows in _loaded(versions, loading):
            distinct: dict[int, list[int]] = {}
            for row in rows:
                distinct.setdefault(int(texts.input[row]), []).append(row)
            for start in range(0, len(distinct), PART):
                part = list(distinct)[start : start + PART]
                answers = adapter.predict([texts.inputs[index] for index in part], batch_size)
                scores = np.array([_scores(answer, adapter.version) for answer in answers])
                cache.store(adapter.version.digest, [texts.input_digests[index] for index in part], scores)
                for index, each in zip(part, scores, strict=True):
                    yield adapter.version, distinct[index], [each] * len(distinct[index])
                    advance(len(distinct[index]))


def _loaded(versions: Any, loading: Loading) -> Iterator[tuple[Any, list[int]]]:
    """Yield an adapter for each version with its rows; those in `loading["adapters"]` are loaded once, and stay."""
    given = {name: value for name, value in loading.items() if name in ("base", "device", "download")}
    adapters: dict[str, Any] | None = loading.get("adapters")
    if adapters is None:
        yield from ahf.load_versions(versions, **given)
        return
    missing = [None if version is None or version.digest in adapters else version for version in versions]
    for version, rows in versions.groups().items():
        if version.digest in adapters:
            yield adapters[version.digest], rows
    for adapter, rows in ahf.load_versions(ahf.DatedVersions(missing, {}, versions.registry), **given):
        adapters[adapter.version.digest] = adapter
        yield adapter, rows


def _scores(answer: Any, version: Version) -> list[float]:
    if isinstance(answer, Estimate):
        return [float(answer.value)]
    labels = version.manifest.head.labels if version.manifest.head is not None else None
    if isinstance(answer, Prediction) and labels:
        return [float(answer.scores[label]) for label in labels]
    raise BadRecipe(
        f"{version.reference} answers with a {type(answer).__name__}, which is neither one class nor an estimate: "
        "signals need a head such as classify or regress"
    )
