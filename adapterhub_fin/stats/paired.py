"""Test whether two versions differ on the same rows: paired t, Wilcoxon, sign flips, McNemar; and Shapiro-Wilk.

Each function takes one score a row of each side, (rows,), or their differences, and raises Undefined with the reason
where the data leave it without a p-value. All p-values are two-sided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.undefined import Undefined, deviation, finite, paired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from scipy import stats
else:
    np = Lazy("numpy")
    stats = Lazy("scipy.stats")

EXACT: Final = 16  # pairs that differ, up to which every sign pattern is tried: 65,536 of them
ROUNDS: Final = 10_000
ENOUGH: Final = 100  # random patterns that reach the observed difference, after which `swap` draws no more
SHAPIRO_MOST: Final = 5000  # above which scipy calls its approximation inaccurate
_CHUNK: Final = 4_000_000  # signs that are drawn at a time


@dataclass(frozen=True)
class PairedTest:
    """Hold a test's two-sided p-value; `error` is its Monte Carlo standard error, None where it is exact."""

    name: str
    p: float
    statistic: float
    error: float | None = None


def paired_t(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Return Student's paired t-test (1908): the mean difference over its standard error, n - 1 degrees of freedom."""
    differences = paired(a, b, least=2)
    t = float(np.mean(differences)) / (deviation(differences) / np.sqrt(len(differences)))
    return PairedTest("paired t", float(2 * stats.t.sf(abs(t), len(differences) - 1)), float(t))


def wilcoxon(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Return Wilcoxon's signed-rank test (1945), as scipy computes it: pairs without a difference are dropped.

    Raises Undefined where no pair differs.
    """
    differences = paired(a, b)
    if not differences.any():
        raise Undefined("no pair differs")
    result: Any = stats.wilcoxon(differences)
    return PairedTest("Wilcoxon", float(result.pvalue), float(result.statistic))


def shapiro_wilk(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Return Shapiro and Wilk's test (1965) of whether the differences are normal.

    Raises Undefined for differences that do not vary, and above 5,000 rows.
    """
    differences = paired(a, b, least=3)
    deviation(differences)
    if len(differences) > SHAPIRO_MOST:
        raise Undefined(f"{len(differences):,} rows: its p-value holds up to {SHAPIRO_MOST:,}")
    result: Any = stats.shapiro(differences)
    return PairedTest("Shapiro-Wilk", float(result.pvalue), float(result.statistic))


def mcnemar(a: ArrayLike, b: ArrayLike, *, mid_p: bool = False) -> PairedTest:
    """Return McNemar's exact test (1947) of whether two versions are right on equally many rows.

    `a` and `b` say for each row whether that version is right. The statistic is the number of rows on which a alone is.
    With `mid_p` half of the observed outcome's probability counts (Lancaster 1961; Fagerland, Lydersen and Laake 2013):
    less conservative, and 1 where both are alone right equally often. Raises Undefined for a score that is neither 0
    nor 1.
    """
    one, other = finite(a), finite(b)
    paired(one, other)
    if not np.isin(np.concatenate([one, other]), (0, 1)).all():
        raise Undefined("a score is neither right (1) nor wrong (0)")
    only_a, only_b = int(np.sum(one > other)), int(np.sum(other > one))
    discordant, fewer = only_a + only_b, min(only_a, only_b)
    p = 1.0 if only_a == only_b else min(1.0, 2 * float(stats.binom.cdf(fewer, discordant, 0.5)))
    if mid_p and only_a != only_b:
        p -= float(stats.binom.pmf(fewer, discordant, 0.5))
    return PairedTest("McNemar, mid-p" if mid_p else "McNemar", p, float(only_a))


def sign_flip(differences: ArrayLike, *, rounds: int = ROUNDS, seed: int = 0) -> PairedTest:
    """Return Fisher's permutation test (1935) of a sum of differences, (units,), whose signs are exchangeable under H0.

    Of a mean, pass the differences of the rows; of rows in groups, their sums by group. All sign patterns are tried
    where at most 16 differences are not 0; else `rounds` random ones, counting the observed one among them (Phipson and
    Smyth 2010), so that p is never 0.
    """
    values = finite(differences)
    values = values[values != 0]
    if not len(values):
        return PairedTest("permutation", 1.0, 0.0)
    observed = float(values.sum())
    least = abs(observed) - 1e-12 * float(np.abs(values).sum())  # what rounding alone puts below counts as reached
    if len(values) <= EXACT:
        patterns = (np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1
        return PairedTest("permutation", float(np.mean(np.abs((1 - 2 * patterns) @ values) >= least)), observed)
    reached = sum(int(np.sum(np.abs(sums) >= least)) for sums in _random_sums(values, rounds, seed))
    return PairedTest("permutation", *_monte_carlo(reached, rounds, observed))


def _random_sums(values: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the sums of the values under random signs, (rounds of a chunk,)."""
    rng, size, total = np.random.default_rng(seed), max(1, _CHUNK // len(values)), values.sum()
    for start in range(0, rounds, size):
        flipped = rng.integers(0, 2, size=(min(size, rounds - start), len(values)), dtype=np.int8)
        yield total - 2 * (flipped @ values)


def swap(
    statistic: Any, units: np.ndarray, *, differ: np.ndarray | None = None, rounds: int = ROUNDS, seed: int = 0
) -> PairedTest:
    """Return the permutation test of any difference of two versions: rows swap their answers by a coin (Noreen 1989).

    `statistic` takes a mask (rows,) of the rows that are swapped, and returns the difference between the versions;
    `units`, (rows,), are integers: rows of one unit are swapped together. All patterns of at most 16 units are tried;
    else random ones until 100 of them reach the observed difference (Besag and Clifford 1991: a large p needs few), at
    most `rounds`. `differ`, (rows,), says where the answers differ: the patterns of a unit where none does are one, and
    are tried once. Raises Undefined where a pattern leaves the statistic without a value.
    """
    _, numbers = np.unique(units, return_inverse=True)
    count = int(numbers.max(initial=-1)) + 1
    if not count:
        raise Undefined("0 rows: it needs at least 1")
    observed = float(statistic(np.zeros(len(numbers), dtype=bool)))
    if exact := count <= EXACT:
        moved = np.arange(count) if differ is None else np.unique(numbers[differ])
        rounds = 2 ** len(moved)
        swaps = np.zeros((rounds, count), dtype=bool)
        swaps[:, moved] = (np.arange(rounds)[:, None] >> np.arange(len(moved))) & 1
        patterns = iter(swaps)
    else:
        rng = np.random.default_rng(seed)
        patterns = (rng.integers(0, 2, size=count, dtype=np.int8).astype(bool) for _ in range(rounds))
    least, reached, drawn = abs(observed) * (1 - 1e-10), 0, 0  # which rounding must not miss
    for pattern in patterns:
        value = float(statistic(pattern[numbers]))
        if not np.isfinite(value):
            raise Undefined("the metric is undefined when some rows swap their answers")
        reached, drawn = reached + (abs(value) >= least), drawn + 1
        if reached == ENOUGH and not exact:
            p = reached / drawn
            return PairedTest("permutation", p, observed, float(p * np.sqrt((1 - p) / reached)))
    if exact:
        return PairedTest("permutation", reached / rounds, observed)
    return PairedTest("permutation", *_monte_carlo(reached, rounds, observed))


def _monte_carlo(reached: int, rounds: int, observed: float) -> tuple[float, float, float]:
    """Return p, the statistic and the standard error of p."""
    p = (reached + 1) / (rounds + 1)
    return p, observed, float(np.sqrt(p * (1 - p) / rounds))
