"""Dated, labelled finance sentences, drawn from a grammar: the same seed gives the same rows on every machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import TypeVar

from adapterhub_fin_plugins.corpora.headlines_grammar import FAMILIES, SLOTS, TAILS

LABELS = {"-": "negative", "=": "neutral", "+": "positive"}

_OPENING, _CLOSING = time(8), time(18)
_CHOICE = re.compile(r"\[([^][]*)\]")
# "an 8%", "an 11%", "an $18 million"; but "a unit", "a European", "a one-off", "a 110%", "a EUR 5 million".
_VOWEL_SOUND = re.compile(
    r"\b([Aa]) (?=(?!EUR|[Ee]uro|[Uu]s[deu]|USD|[Uu]ni(?:[ofqtv])|[Oo]ne)[AEIOUaeiou]|[$£€]?(?:8|11\b|18\b))"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Headline:
    """One sentence, what it says of the company it names, and the instant from which one could have read it."""

    text: str
    label: str
    available_at: datetime
    label_known_at: datetime  # The label is a judgement of the text itself, so it is known as soon as the text is.
    group: str


def generate(rows: int, seed: int, start: date, end: date) -> Iterator[Headline]:
    """Yield `rows` different sentences in order of time, on weekdays from `start` to `end`, both included."""
    random = Random(seed)
    families = _families()
    seen: set[str] = set()
    for moment in _moments(random, rows, start, end):
        label = _label(random)
        text = ""
        while not text or text in seen:
            group, patterns = _pick(random, families[label])
            text = _sentence(random, _pick(random, patterns), moment.year)
        seen.add(text)
        yield Headline(text, label, moment, moment, group)


def _families() -> dict[str, list[tuple[str, list[str]]]]:
    """For each label, the families that can express it, each with its patterns."""
    families: dict[str, list[tuple[str, list[str]]]] = {label: [] for label in LABELS.values()}
    for block in FAMILIES.strip().split("\n\n"):
        name, _, body = block.partition("\n")
        lines = body.replace("\n  ", " ").splitlines()
        for sign, label in LABELS.items():
            if patterns := [_with_tail(line[2:], label) for line in lines if line[0] == sign]:
                families[label].append((name, patterns))
    return families


def _with_tail(pattern: str, label: str) -> str:
    return f"{pattern[:-1]}{TAILS[label]}." if pattern.endswith(".") else pattern


def _moments(random: Random, rows: int, start: date, end: date) -> list[datetime]:
    days = [start + timedelta(days) for days in range((end - start).days + 1)]
    weekdays = [day for day in days if day.weekday() < 5]
    if not weekdays:
        raise ValueError(f"no weekday lies between {start} and {end}: widen the range")
    minutes = range((_CLOSING.hour - _OPENING.hour) * 60)
    return sorted(
        datetime.combine(_pick(random, weekdays), _OPENING, UTC) + timedelta(minutes=_pick(random, minutes))
        for _ in range(rows)
    )


def _label(random: Random) -> str:
    share = random.random()
    return "neutral" if share < 0.45 else "positive" if share < 0.75 else "negative"


def _pick(random: Random, options: Sequence[T]) -> T:
    # Of all of Random's methods, only random() promises the same output in every version of Python.
    return options[int(random.random() * len(options))]


def _sentence(random: Random, pattern: str, year: int) -> str:
    text = re.sub(" +", " ", _Words(random, year).fill(pattern)).replace("s's ", "s' ")
    text = _VOWEL_SOUND.sub(r"\1n ", text)
    return text[0].upper() + text[1:]


class _Words(dict[str, str]):
    """The words of one sentence, each drawn when it is first asked for."""

    def __init__(self, random: Random, year: int) -> None:
        self._random = random
        super().__init__(year=str(year), last_year=str(year - 1), next_year=str(year + 1))
        self.update(self._numbers())

    def __missing__(self, slot: str) -> str:
        self[slot] = self.fill(SLOTS[slot.rstrip("23456789")])
        return self[slot]

    def fill(self, pattern: str) -> str:
        """Make every choice in a pattern, the innermost first, then fill its slots."""
        while _CHOICE.search(pattern):
            pattern = _CHOICE.sub(lambda choice: _pick(self._random, choice[1].split("|")), pattern)
        return pattern.format_map(self)

    def _numbers(self) -> dict[str, str]:
        """Draw the figures together, for they must agree: one currency, one unit, and `more` above `less`."""
        random, currency, unit = self._random, self["currency"], self["unit"]
        scale = 1 if unit == "billion" else _pick(random, (1, 10, 100))
        less = scale * (2 + 7 * random.random())
        low_rate = 4 + 40 * random.random()
        eps = 0.2 + 30 * random.random() * random.random()
        percent = _pick(random, ("%", "%", " percent"))
        amounts = {
            "less": less,
            "more": less * (1.06 + 0.7 * random.random()),
            "sum": scale * (1 + 8 * random.random()),
            "sum2": scale * (1 + 8 * random.random()),
        }
        return {slot: f"{currency}{_rounded(amount)} {unit}" for slot, amount in amounts.items()} | {
            "eps_less": f"{currency}{eps:.2f}",
            "eps_more": f"{currency}{eps * (1.06 + 0.5 * random.random()):.2f}",
            "low_rate": f"{low_rate:.1f}{percent}",
            "high_rate": f"{low_rate + 0.3 + 4 * random.random():.1f}{percent}",
            "pct": f"{_rounded(2 + 20 * random.random())}{percent}",
            "bps": str(5 * _pick(random, range(2, 40))),
            "jobs": f"{10 * _pick(random, range(12, 900)):,}",
            "many": f"{_pick(random, range(2_000_000, 90_000_000)):,}",
            "points": f"{1_000 + 9_000 * random.random():,.1f}",
            "count": str(_pick(random, range(12, 26))),
        }


def _rounded(amount: float) -> str:
    return f"{amount:.1f}" if amount < 99.95 else f"{amount:,.0f}"
