"""Measure how much a base recalls of dated facts, on one side of its knowledge end; torch is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.contamination.probes import Probe, SideName
from adapterhub_fin.stats.agreement import Agreement, Family, excess_by_row, permuted, shifted
from adapterhub_fin.stats.bootstrap import Interval, stationary
from adapterhub_fin.stats.sample_size import smallest_difference
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

ROUNDING: Final = 1e-12  # of a probability
LEAST_TREND: Final = 4  # events of a family, below which no trend is taken out of them


@dataclass(frozen=True)
class Recalled:
    """Hold what a base makes of one fact: of one family and event, the mean over its probes."""

    family: str
    event: str
    day: str
    probes: int
    options: Sequence[str]
    answer: int
    propensities: np.ndarray  # (options,), which sum to 1
    expected: float  # the mean propensity of the other events' answers
    forecast: float | None = None  # the share of its probes whose forecast is right

    @property
    def excess(self) -> float:
        """Return the propensity of the right option beyond what the frequencies give."""
        return float(self.propensities[self.answer]) - self.expected

    @property
    def right(self) -> float:
        """Return 1 if the right option is the likeliest, else 0; of several equal ones its share."""
        best = self.propensities >= self.propensities.max() - ROUNDING
        return float(best[self.answer] / best.sum())


@dataclass(frozen=True)
class Side:
    """Hold what a base recalls on one side of its end: mean propensities over facts, and what the test could show.

    The excess is the propensity of the right option less what the frequencies of answers and of preferences give.
    `smallest` is the true excess that the test would show with the power that was asked; None where the events are too
    few for any.
    """

    name: SideName
    probes: int
    events: int
    facts: Sequence[Recalled] = field(repr=False)
    left_out: int  # facts of families with a single event on this side
    right: float | None = None
    propensity: float | None = None
    expected: float | None = None
    excess: float | None = None
    interval: Interval | None = None
    p: float | None = None
    smallest: float | None = None
    reason: str = ""  # why the interval or the test is missing

    def body(self) -> dict[str, Any]:
        """Return the numbers as plain values, without the single facts."""
        names = ("probes", "events", "left_out", "right", "propensity", "expected", "excess", "p", "smallest", "reason")
        interval = None if self.interval is None else list(self.interval)
        return {**{name: getattr(self, name) for name in names}, "facts": len(self.facts), "interval": interval}


@dataclass(frozen=True)
class Settings:
    """Set the test: its level, power, whether events depend on one another in time, and the seed of what is drawn."""

    alpha: float = 0.05
    power: float = 0.8
    independent: bool = False
    seed: int = 0
    resamples: int = 2000  # of the intervals


def measure_side(
    name: SideName, probes: Sequence[Probe], likelihoods: Mapping[int, np.ndarray], settings: Settings
) -> Side:
    """Return what a base recalls of the probes of one side, given by time.

    `likelihoods` has the log-likelihood of each option by the probe's number, (options,), in nats.
    """
    families = list(_families(probes, likelihoods, trend=not settings.independent))
    usable = [(family, facts) for family, facts in families if len(facts) > 1]
    facts = sorted((fact for _, each in usable for fact in each), key=lambda fact: (fact.day, fact.event, fact.family))
    side: dict[str, Any] = {
        "name": name,
        "probes": len(probes),
        "events": len({probe.event for probe in probes}),
        "facts": facts,
        "left_out": sum(len(facts) for _, facts in families) - len(facts),
    }
    if not facts:
        return Side(**side, reason="no two events have the same options, so that there is nothing to compare")
    return Side(**side, **_tested([family for family, _ in usable], facts, settings))


def _tested(families: Sequence[Family], facts: Sequence[Recalled], settings: Settings) -> dict[str, Any]:
    agreement = permuted(families, seed=settings.seed) if settings.independent else shifted(families)
    interval, reason = None, ""
    try:
        by_event = event_means(facts, lambda fact: fact.excess)
        if np.ptp(by_event) < ROUNDING:
            raise Undefined("the excess does not vary")
        block = 1.0 if settings.independent else None
        interval, _ = stationary(by_event, block=block, resamples=settings.resamples, seed=settings.seed)
    except Undefined as error:
        reason = f"no interval: {error}"
    smallest, why = _smallest(agreement, settings, max(len(family.answers) for family in families))
    return {
        "right": float(np.mean([fact.right for fact in facts])),
        "propensity": agreement.observed,
        "expected": agreement.expected,
        "excess": agreement.excess,
        "interval": interval,
        "p": agreement.p,
        "smallest": smallest,
        "reason": why or reason,
    }


def _smallest(agreement: Agreement, settings: Settings, longest: int) -> tuple[float | None, str]:
    """Return the excess that the one-sided test would show with that power; None and why if it could show none."""
    if agreement.least_p > settings.alpha:
        least, why = agreement.least_p, "so few events" if 1 / longest > settings.alpha else "such answers"
        return None, f"p can't fall below {least:.2g} with {why}, and must be at most {settings.alpha:g}"
    if agreement.error < ROUNDING:
        return None, "the answers, or what the base gives to them, do not vary"
    return smallest_difference(agreement.error, level=1 - 2 * settings.alpha, power=settings.power), ""


def event_means(facts: Sequence[Recalled], value: Callable[[Recalled], float]) -> np.ndarray:
    """Return the mean of a value over the facts of each event, in time order, (events,)."""
    values: dict[tuple[str, str], list[float]] = {}
    for fact in facts:
        values.setdefault((fact.day, fact.event), []).append(value(fact))
    return np.array([np.mean(values[key]) for key in sorted(values)])


def _families(
    probes: Sequence[Probe], likelihoods: Mapping[int, np.ndarray], *, trend: bool
) -> Iterator[tuple[Family, list[Recalled]]]:
    """Yield each family with its facts, by time."""
    numbers = {event: number for number, event in enumerate(dict.fromkeys(probe.event for probe in probes))}
    grouped: dict[str, dict[str, list[Probe]]] = {}
    for probe in probes:
        grouped.setdefault(probe.family, {}).setdefault(probe.event, []).append(probe)
    for name in sorted(grouped):
        events = grouped[name]
        options = sorted(next(iter(events.values()))[0].options)
        raw = np.array([_mean_likelihood(same, options, likelihoods) for same in events.values()])
        propensities = softmax(calibrated(raw, trend=trend))
        answers = np.array([options.index(same[0].options[same[0].answer]) for same in events.values()])
        family = Family(propensities, answers, np.array([numbers[event] for event in events]))
        expected = excess_by_row(family)[1] if len(answers) > 1 else np.full(1, np.nan)
        yield (
            family,
            [
                Recalled(
                    family=name,
                    event=event,
                    day=str(same[0].day),
                    probes=len(same),
                    options=options,
                    answer=int(answers[row]),
                    propensities=propensities[row],
                    expected=float(expected[row]),
                    forecast=_forecast(same),
                )
                for row, (event, same) in enumerate(events.items())
            ],
        )


def _mean_likelihood(same: Sequence[Probe], options: Sequence[str], likelihoods: Mapping[int, np.ndarray]) -> Any:
    """Return the mean log-probability of each option over the probes of one event, (options,)."""
    rows = []
    for probe in same:
        order = [probe.options.index(option) for option in options]
        values = likelihoods[probe.number][order]
        rows.append(values - np.logaddexp.reduce(values))
    return np.mean(rows, axis=0)


def _forecast(same: Sequence[Probe]) -> float | None:
    hits = [float(probe.forecast == probe.answer) for probe in same if probe.forecast is not None]
    return float(np.mean(hits)) if hits else None


def calibrated(likelihoods: np.ndarray, *, trend: bool) -> np.ndarray:
    """Return log-likelihoods, (events, options), without each option's mean over the events, and its linear trend.

    What a base prefers at any date goes with the mean: long options, rare words. The trend is what it makes of a later
    date by itself, which would agree with a trend of the answers half of the time.
    """
    count = len(likelihoods)
    columns = [np.ones(count)]
    if trend and count >= LEAST_TREND:
        columns.append(np.linspace(-1.0, 1.0, count))
    design = np.stack(columns, axis=1)
    fitted, *_ = np.linalg.lstsq(design, likelihoods, rcond=None)
    rest: np.ndarray = likelihoods - design @ fitted
    return rest


def softmax(values: np.ndarray) -> np.ndarray:
    """Return probabilities in proportion to the exponentials of each row, (rows, options)."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
