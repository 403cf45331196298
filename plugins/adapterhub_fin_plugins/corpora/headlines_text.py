"""Generate dated, labelled finance sentences from a grammar; a seed gives the same rows on every machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from random import Random
from typing import TypeVar

LABELS = {"-": "negative", "=": "neutral", "+": "positive"}
GRAMMAR = "headlines.txt"  # next to this module; it describes its own format

_OPENING, _CLOSING = time(8), time(18)
_CHOICE = re.compile(r"\[([^][]*)\]")
# "an 8%", "an 11%", "an $18 million"; but "a unit", "a European", "a one-off", "a 110%", "a EUR 5 million".
_VOWEL_SOUND = re.compile(
    r"\b([Aa]) (?=(?!EUR|[Ee]uro|[Uu]s[deu]|USD|[Uu]ni(?:[ofqtv])|[Oo]ne)[AEIOUaeiou]|[$£€]?(?:8|11\b|18\b))"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Headline:
    """Hold one sentence, its label, and the instant from which one could have read it."""

    text: str
    label: str
    available_at: datetime
    label_known_at: datetime  # a label follows from the text alone, so it is known as soon as the text is
    group: str  # the family of the sentence


@dataclass(frozen=True)
class Grammar:
    """Hold the patterns of the placeholders by name, and for each label its families with their patterns."""

    placeholders: Mapping[str, str]
    families: Mapping[str, Sequence[tuple[str, Sequence[str]]]]


def generate(rows: int, seed: int, start: date, end: date) -> Iterator[Headline]:
    """Yield `rows` distinct sentences in order of time, on weekdays from `start` to `end`, both included.

    Raises ValueError if no weekday lies between the two dates.
    """
    random = Random(seed)
    families = _grammar().families
    seen: set[str] = set()
    for moment in _moments(random, rows, start, end):
        label = _label(random)
        text = ""
        while not text or text in seen:
            group, patterns = _pick(random, families[label])
            text = _sentence(random, _pick(random, patterns), moment.year)
        seen.add(text)
        yield Headline(text, label, moment, moment, group)


@cache
def _grammar() -> Grammar:
    text = files("adapterhub_fin_plugins.corpora").joinpath(GRAMMAR).read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\n  ", " ")
    placeholders, tails, families = re.split(r"^\[\w+\]\n", text, flags=re.MULTILINE)[1:]
    return Grammar(_patterns(placeholders), _families(families, _patterns(tails)))


def _patterns(section: str) -> dict[str, str]:
    return {name: pattern for name, _, pattern in (line.partition(" = ") for line in section.strip().split("\n"))}


def _families(section: str, tails: Mapping[str, str]) -> dict[str, list[tuple[str, list[str]]]]:
    """Return for each label the families that can express it, each with its patterns, in the order of the grammar."""
    families: dict[str, list[tuple[str, list[str]]]] = {label: [] for label in LABELS.values()}
    for block in section.strip().split("\n\n"):
        name, *lines = block.split("\n")
        for sign, label in LABELS.items():
            if patterns := [_with_tail(line[2:], tails[label]) for line in lines if line[0] == sign]:
                families[label].append((name, patterns))
    return families


def _with_tail(pattern: str, tail: str) -> str:
    return f"{pattern[:-1]}{tail}." if pattern.endswith(".") else pattern


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
    """Hold the values of one sentence's placeholders; each is drawn when it is first used."""

    def __init__(self, random: Random, year: int) -> None:
        self._random = random
        super().__init__(year=str(year), last_year=str(year - 1), next_year=str(year + 1))
        self.update(self._numbers())

    def __missing__(self, name: str) -> str:
        self[name] = self.fill(_grammar().placeholders[name.rstrip("23456789")])
        return self[name]

    def fill(self, pattern: str) -> str:
        """Return a pattern with every choice made, the innermost first, and every placeholder filled."""
        while _CHOICE.search(pattern):
            pattern = _CHOICE.sub(lambda choice: _pick(self._random, choice[1].split("|")), pattern)
        return pattern.format_map(self)

    def _numbers(self) -> dict[str, str]:
        """Return the numbers, drawn together because they must agree: one currency, one unit, `more` above `less`."""
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
        return {name: f"{currency}{_rounded(amount)} {unit}" for name, amount in amounts.items()} | {
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
