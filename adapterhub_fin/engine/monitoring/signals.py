"""Compare two observations signal by signal: lengths, vectors, answers, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.monitoring.observed import Observed
from adapterhub_fin.stats import drift
from adapterhub_fin.stats.corrections import holm
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

Verdict = Literal["no drift shown", "drift", "small shift", "too few rows to tell", "undefined"]
ECE_BINS: Final = 10
FIXED: Final = 7  # signals at most, beside one for each label of a set and each kind of number


@dataclass(frozen=True)
class Thresholds:
    """Set when a shift is an alarm.

    Its p, corrected by Holm over all signals, must be below `alpha`, and its PSI, less what chance gives on average, at
    least `min_psi` (credit scoring's rule of thumb: below 0.1 no change, above 0.25 a large one; Siddiqi 2006). Signals
    without a PSI alarm by p alone. Below `min_rows` on a side nothing is decided.
    """

    alpha: float = 0.01
    min_psi: float = 0.1
    min_rows: int = 50


@dataclass(frozen=True)
class Signal:
    """Hold the comparison of one thing that was observed; what wasn't computed is None, for the `reason`."""

    name: str
    about: Literal["inputs", "answers", "calibration"]
    before: str  # the reference in a word, such as its median
    now: str
    test: str
    statistic: float | None = None
    p: float | None = None
    corrected_p: float | None = None  # over all signals, by Holm
    psi: float | None = None
    expected_psi: float | None = None  # without drift, on as many rows
    verdict: Verdict = "undefined"
    reason: str = ""


def compare(reference: Observed, new: Observed, thresholds: Thresholds, *, seed: int) -> list[Signal]:
    """Return every signal that both sides have, judged; small tables are told from drift.

    Tests by permutation draw as often as an alarm takes, corrected for all signals, and twice that.
    """
    draws = ceil(2 * (FIXED + len(new.applied) + len(new.numbers)) / thresholds.alpha)
    found = list(_signals(reference, new, draws, seed))
    if min(reference.rows, new.rows) < thresholds.min_rows:
        few = f"{reference.rows:,} rows before and {new.rows:,} now, and it takes {thresholds.min_rows:,} on each side"
        return [replace(each, verdict="too few rows to tell", reason=few) for each in found]
    tested = [index for index, each in enumerate(found) if each.p is not None]
    corrected: list[float] = holm([found[index].p or 0.0 for index in tested]).tolist() if tested else []
    for index, p in zip(tested, corrected, strict=True):
        found[index] = _judged(replace(found[index], corrected_p=p), thresholds)
    return found


def _judged(signal: Signal, thresholds: Thresholds) -> Signal:
    assert signal.corrected_p is not None, "only signals with a p are judged"
    if signal.corrected_p >= thresholds.alpha:
        return replace(signal, verdict="no drift shown")
    beyond_chance = None if signal.psi is None or signal.expected_psi is None else signal.psi - signal.expected_psi
    is_small = beyond_chance is not None and beyond_chance < thresholds.min_psi
    return replace(signal, verdict="small shift" if is_small else "drift")


def _signals(reference: Observed, new: Observed, draws: int, seed: int) -> Iterator[Signal]:
    if reference.tokens is not None and new.tokens is not None:
        yield _numbers("tokens", "inputs", reference.tokens, new.tokens)
    if reference.unknown is not None and new.unknown is not None:
        yield _numbers("unknown share", "inputs", reference.unknown, new.unknown)
    if reference.vectors is not None and new.vectors is not None:
        yield _vectors(reference.vectors, new.vectors, draws, seed)
    if reference.labels is not None and new.labels is not None:
        yield _classes(reference.labels, new.labels, draws, seed)
    for name in sorted(reference.applied.keys() & new.applied.keys()):
        yield _applied(name, reference.applied[name], new.applied[name])
    for name in sorted(reference.numbers.keys() & new.numbers.keys()):
        yield _numbers(name, "answers", reference.numbers[name], new.numbers[name])
    if new.right is not None:
        yield from _calibration(reference, new, draws, seed)
    if reference.errors is not None and new.errors is not None:
        yield _numbers("error", "calibration", reference.errors, new.errors)


def _attempted(signal: Signal, measure: Callable[[], drift.Shift]) -> Signal:
    """Return the signal with its test, or with the reason why it has none."""
    try:
        shift = measure()
    except Undefined as error:
        return replace(signal, reason=str(error))
    return replace(signal, statistic=shift.statistic, p=shift.p)


def _numbers(name: str, about: Any, before: np.ndarray, now: np.ndarray) -> Signal:
    was, is_now = (f"median {np.median(each):.4g}" if len(each) else "no row" for each in (before, now))
    signal = _attempted(
        Signal(name, about, was, is_now, test="Kolmogorov-Smirnov"), lambda: drift.kolmogorov_smirnov(before, now)
    )
    if signal.p is None:
        return signal
    edges = drift.quantile_edges(before)
    counts = [drift.counts_by(each, edges) for each in (before, now)]
    return _with_psi(signal, *counts)


def _with_psi(signal: Signal, before: np.ndarray, now: np.ndarray) -> Signal:
    expected = drift.expected_stability(len(before), int(before.sum()), int(now.sum()))
    return replace(signal, psi=drift.population_stability(before, now), expected_psi=expected)


def _vectors(before: np.ndarray, now: np.ndarray, draws: int, seed: int) -> Signal:
    was, is_now = (f"{len(each):,} vectors" for each in (before, now))
    signal = Signal("embeddings", "inputs", was, is_now, test="energy distance, by permutation")
    return _attempted(signal, lambda: drift.energy_distance(before, now, draws=draws, seed=seed))


def label_counts(before: Sequence[str], now: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    """Return how often each label was given, before and now."""
    return {label: (before.count(label), now.count(label)) for label in sorted({*before, *now})}


def _classes(before: Sequence[str], now: Sequence[str], draws: int, seed: int) -> Signal:
    counts = label_counts(list(before), list(now))
    sides = [np.array([pair[side] for pair in counts.values()]) for side in (0, 1)]
    was, is_now = (
        ", ".join(f"{label} {count / max(side.sum(), 1):.0%}" for label, count in zip(counts, side, strict=True))
        for side in sides
    )
    signal = Signal("class shares", "answers", was, is_now, test="chi-squared, by permutation")
    signal = _attempted(signal, lambda: drift.category_shift(*sides, draws=draws, seed=seed))
    return signal if signal.p is None else _with_psi(signal, *sides)


def _applied(name: str, before: np.ndarray, now: np.ndarray) -> Signal:
    hits = [(int(each.sum()), len(each)) for each in (before, now)]
    was, is_now = (f"{hit / max(rows, 1):.1%} of rows" for hit, rows in hits)
    signal = _attempted(
        Signal(f"label {name}", "answers", was, is_now, test="Fisher's exact"), lambda: drift.share_shift(*hits)
    )
    sides = [np.array([hit, rows - hit]) for hit, rows in hits]
    return signal if signal.p is None else _with_psi(signal, *sides)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error of (rows,) confidences over ten bins of one width (arXiv 1706.04599)."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [abs(np.sum(confidence[bins == each] - right[bins == each])) for each in range(ECE_BINS)]
    return float(np.sum(gaps) / len(confidence))


def _calibration(reference: Observed, new: Observed, draws: int, seed: int) -> Iterator[Signal]:
    """Yield how often answers are right, and whether they are as sure of it as before."""
    assert new.right is not None, "asked where the truth is known"
    sure, was_sure = new.numbers.get("confidence"), reference.numbers.get("confidence")
    if reference.right is not None:
        hits = [(int(each.sum()), len(each)) for each in (reference.right, new.right)]
        was, is_now = (f"{hit / max(rows, 1):.1%} right" for hit, rows in hits)
        accuracy = Signal("accuracy", "calibration", was, is_now, test="Fisher's exact")
        yield _attempted(accuracy, lambda: drift.share_shift(*hits))
    if sure is None:
        return
    if reference.right is None or was_sure is None:
        signal = Signal("calibration", "calibration", "unknown", _reliability(sure, new.right), "Spiegelhalter's z")
        yield _attempted(signal, lambda: drift.calibration_test(sure, new.right))  # type: ignore[arg-type]
        return
    gaps = was_sure - reference.right, sure - new.right
    was, is_now = (_reliability(was_sure, reference.right), _reliability(sure, new.right))
    signal = Signal("calibration", "calibration", was, is_now, test="mean of confidence - right, by permutation")
    yield _attempted(signal, lambda: drift.mean_shift(*gaps, draws=draws, seed=seed))


def _reliability(confidence: np.ndarray, right: np.ndarray) -> str:
    """Return the calibration error, with the p of Spiegelhalter's test of whether there is any."""
    error = f"ECE {calibration_error(confidence, right):.3f}"
    try:
        return f"{error}, p {drift.calibration_test(confidence, right).p:.2g}"
    except Undefined:
        return error
