"""How often each test rejects where there is nothing to find, and where there is: the tests of `ahf compare`.

    python benchmarks/false_alarms.py                    # 500 repeats on 967 rows, as many as PhraseBank's test part

Two classifiers of three labels share most of their errors, as two adapters on one base do. Under the null each row's
two answers (and losses) are swapped by a coin, so that neither is better. Under the effect one of them is right on
`--gain` more of the rows. A family is twelve comparisons of a null, one of which rejects by accident more often.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from adapterhub_fin.stats.corrections import benjamini_hochberg, bonferroni, holm
from adapterhub_fin.stats.paired import mcnemar, paired_t, shapiro_wilk, sign_flip, swap, wilcoxon
from adapterhub_fin_plugins.metrics import macro_f1

LEVEL = 0.05
LABELS = np.array([0.12, 0.59, 0.29])  # PhraseBank's shares: negative, neutral, positive
FAMILY = 12


@dataclass(frozen=True)
class Side:
    """One classifier on some rows: its answers (rows,), whether each is right, and the loss of each."""

    answers: np.ndarray
    right: np.ndarray
    losses: np.ndarray


def sides(rng: np.random.Generator, rows: int, gain: float) -> tuple[np.ndarray, Side, Side]:
    """Return the truth (rows,) and two classifiers; without a gain, whose answer is whose is a coin's choice."""
    truth = rng.choice(3, size=rows, p=LABELS)
    hardness = rng.normal(size=rows)  # shared: both fail on the same rows
    made = []
    for share in (0.8 + gain, 0.8):
        margin = scipy_stats.norm.ppf(share) * np.sqrt(1.36) - hardness + 0.6 * rng.normal(size=rows)
        answers = np.where(margin > 0, truth, (truth + rng.integers(1, 3, size=rows)) % 3)
        made.append((answers, np.log1p(np.exp(-margin))))
    if not gain:
        coin = rng.random(rows) < 0.5
        made = [tuple(np.where(coin, x, y) for x, y in zip(*pair, strict=True)) for pair in (made, made[::-1])]
    one, other = (Side(answers, (answers == truth).astype(float), losses) for answers, losses in made)
    return truth, one, other


def swapped(truth: np.ndarray, a: Side, b: Side) -> float:
    labels = np.arange(3)

    def difference(mask: np.ndarray) -> float:
        one, other = np.where(mask, b.answers, a.answers), np.where(mask, a.answers, b.answers)
        return macro_f1(truth, one, labels) - macro_f1(truth, other, labels)

    return swap(difference, np.arange(len(truth)), rounds=1000).p


def by_normality(a: np.ndarray, b: np.ndarray) -> float:
    """Return the p-value of the test that a first test of normality picks: what `ahf compare` does not do."""
    return (paired_t if shapiro_wilk(a, b).p > LEVEL else wilcoxon)(a, b).p


Test = Callable[[np.ndarray, Side, Side], float]
TESTS: dict[str, Test] = {
    "accuracy: McNemar (the fixed one)": lambda truth, a, b: mcnemar(a.right, b.right).p,
    "accuracy: McNemar, mid-p": lambda truth, a, b: mcnemar(a.right, b.right, mid_p=True).p,
    "accuracy: permutation": lambda truth, a, b: sign_flip(a.right - b.right, rounds=2000).p,
    "accuracy: paired t": lambda truth, a, b: paired_t(a.right, b.right).p,
    "accuracy: Wilcoxon": lambda truth, a, b: wilcoxon(a.right, b.right).p,
    "macro_f1: permutation (the fixed one)": swapped,
    "loss: permutation (the fixed one)": lambda truth, a, b: sign_flip(a.losses - b.losses, rounds=2000).p,
    "loss: paired t": lambda truth, a, b: paired_t(a.losses, b.losses).p,
    "loss: Wilcoxon": lambda truth, a, b: wilcoxon(a.losses, b.losses).p,
    "loss: t or Wilcoxon, by Shapiro-Wilk": lambda truth, a, b: by_normality(a.losses, b.losses),
}
CORRECTIONS = {
    "no correction": lambda p: np.asarray(p),
    "Bonferroni": bonferroni,
    "Holm": holm,
    "Benjamini-Hochberg": benjamini_hochberg,
}


def rejections(test: Test, rng: np.random.Generator, repeats: int, rows: int, gain: float) -> int:
    return sum(test(*sides(rng, rows, gain)) < LEVEL for _ in range(repeats))


def families(rng: np.random.Generator, repeats: int, rows: int) -> Iterator[list[float]]:
    for _ in range(repeats):
        yield [mcnemar(a.right, b.right, mid_p=True).p for _, a, b in (sides(rng, rows, 0) for _ in range(FAMILY))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--rows", type=int, default=967)
    parser.add_argument("--gain", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    bound = int(scipy_stats.binom.ppf(0.995, asked.repeats, LEVEL))
    print(f"{asked.repeats} repeats, {asked.rows} rows, level {LEVEL}; 99 % binomial bound: {bound} rejections\n")
    print(f"| test | rejections under the null | within the bound | power at {asked.gain:+.2f} accuracy |")
    print("|---|---|---|---|")
    for name, test in TESTS.items():
        alarms = rejections(test, np.random.default_rng(asked.seed), asked.repeats, asked.rows, 0)
        power = rejections(test, np.random.default_rng(asked.seed + 1), asked.repeats, asked.rows, asked.gain)
        print(f"| {name} | {alarms} | {'yes' if alarms <= bound else 'NO'} | {power / asked.repeats:.2f} |", flush=True)
    drawn = list(families(np.random.default_rng(asked.seed + 2), asked.repeats, asked.rows))
    print(f"\n| family of {FAMILY} nulls | families with a rejection | within the bound |\n|---|---|---|")
    for name, correct in CORRECTIONS.items():
        alarms = sum(bool((correct(family) < LEVEL).any()) for family in drawn)
        print(f"| {name} | {alarms} | {'yes' if alarms <= bound else 'no'} |")


if __name__ == "__main__":
    main()
