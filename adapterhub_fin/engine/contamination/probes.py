"""Read dated cloze probes from a file; torch is not imported."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Final, Literal

from adapterhub_fin.errors import BadCorpus, BadInstant, BadRecipe
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.instants import instant, moment
from adapterhub_fin.plugin.tables import TableRow, table_rows
from adapterhub_fin.plugin.texts import problem
from adapterhub_fin_registry.model.knowledge import end_of_day, format_instant

BLANK: Final = "___"
_BLANKS: Final = re.compile("_{3,}")
SHIPPED: Final = Path(__file__).with_name("fomc.jsonl")
FORM: Final = 'write {"text": "... ___ ...", "options": ["a", "b"], "answer": "a", "available_at": "2014-01-29"}'
_FIRST_ZONE: Final = timezone(timedelta(hours=14))  # where a day begins first
SideName = Literal["before", "after"]


@dataclass(frozen=True)
class Probe:
    """Hold one dated fact with a blank in its text, the options for it and the right one.

    The fact became known between `first` and `last`, which differ where only its day is given. Probes of a `family`
    have the same options, and are compared with one another; those of one `event` count as one.
    """

    number: int  # of its line or row in the file
    text: str
    options: tuple[str, ...]
    answer: int  # which option is right
    first: datetime
    last: datetime
    family: str
    event: str
    forecast: int | None = None  # the option that a forecast chose

    @property
    def day(self) -> date:
        """Return the day that is given, or that of the instant in UTC."""
        return _day(self.first, self.last)

    def side(self, end: datetime) -> SideName | None:
        """Return whether the fact became known before or after an instant; None if its day alone doesn't say."""
        return "before" if self.last <= end else "after" if self.first > end else None

    def filled(self) -> list[str]:
        """Return the text with each option in place of the blank."""
        return [self.text.replace(BLANK, option) for option in self.options]


@dataclass(frozen=True)
class ProbeFile:
    """Hold the probes of a file, by time, with the SHA-256 of its bytes."""

    name: str
    digest: str
    probes: Sequence[Probe]


def read_probes(path: Path, timezone: str | None = None) -> ProbeFile:
    """Return the probes of a .jsonl, .json, .csv, .tsv or .parquet file, by time.

    A cell of a csv lists options with | between them. `timezone` is that of times without one. Raises BadCorpus, which
    names each row that can't be read, BadInstant for an unknown time zone and BadRecipe for probes that can't be
    compared.
    """
    if timezone is not None:
        end_of_day(date(2000, 1, 1), timezone)
    faults, probes = Faults(), list[Probe]()
    for row in table_rows(path):
        probe = faults.caught((row.number,), _probe, row, path.name, timezone)
        if probe is not None:
            probes.append(probe)
    faults.check("probes")
    if not probes:
        raise BadCorpus(f"{path.name} has no probe: {FORM} on each line")
    probes.sort(key=lambda probe: (probe.last, probe.number))
    check_families(probes, path.name)
    return ProbeFile(path.name, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}", probes)


def _probe(row: TableRow, name: str, zone: str | None) -> Probe:
    """Return the probe of a row. Raises BadCorpus with the place and what is wrong."""
    where = f"{name}, {row.unit} {row.number}"
    if row.fault:
        raise BadCorpus(f"{where} {row.fault}")
    cells = row.cells
    text = cells.get("text")
    if wrong := problem(text):
        raise BadCorpus(f"{where}: text {wrong}: {FORM}")
    blanks = _BLANKS.findall(str(text))
    if blanks != [BLANK]:
        several = f"{len(blanks)} blanks" if len(blanks) != 1 else f"a blank of {len(blanks[0])} underscores"
        raise BadCorpus(f"{where}: text has {several}: write one, as {BLANK}")
    options = _options(cells.get("options"), where)
    first, last = _known(cells.get("available_at"), where, zone)
    return Probe(
        number=row.number,
        text=str(text),
        options=options,
        answer=_chosen(cells.get("answer"), options, "answer", where),
        first=first,
        last=last,
        family=_label(cells, "family") or " | ".join(sorted(options)),
        event=_label(cells, "event") or f"{_day(first, last)}",
        forecast=None if _is_empty(cells.get("forecast")) else _chosen(cells["forecast"], options, "forecast", where),
    )


def _options(cell: Any, where: str) -> tuple[str, ...]:
    listed = cell.split("|") if isinstance(cell, str) else cell if isinstance(cell, list | tuple) else []
    options = tuple(option.strip() if isinstance(option, str) else option for option in listed)
    if len(options) < 2 or any(problem(option) for option in options):
        raise BadCorpus(f"{where}: options is {cell!r}: list two texts or more, in a csv with | between them")
    if len(set(options)) < len(options):
        raise BadCorpus(f"{where}: options is {cell!r}, with one of them twice: list each once")
    return options


def _chosen(cell: Any, options: Sequence[str], column: str, where: str) -> int:
    if cell not in options:
        raise BadCorpus(f"{where}: {column} is {cell!r}, none of the options {', '.join(options)}")
    return options.index(cell)


def _known(cell: Any, where: str, zone: str | None) -> tuple[datetime, datetime]:
    """Return the first and the last instant at which a fact may have become known; a day without a zone is any zone's.

    Raises BadCorpus for a fact without a date.
    """
    if _is_empty(cell):
        raise BadCorpus(f"{where}: available_at is missing: say when the fact became known, or leave the probe out")
    try:
        read = moment(cell)
        if not isinstance(read, datetime):
            start = datetime.combine(read, time(), _FIRST_ZONE).astimezone(UTC)
            return start, end_of_day(read, None)
        at = instant(read, zone)
    except (BadInstant, OverflowError) as error:
        raise BadCorpus(f"{where}: available_at: {error}") from error
    return at, at


def _day(first: datetime, last: datetime) -> date:
    """Return the day whose first and last instant anywhere are given, or the day of one instant in UTC."""
    return first.date() if first == last else first.astimezone(_FIRST_ZONE).date()


def _label(cells: Mapping[str, Any], column: str) -> str:
    cell = cells.get(column)
    return "" if _is_empty(cell) else str(cell)


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == "" or cell != cell


def check_families(probes: Sequence[Probe], name: str) -> None:
    """Check that probes of a family have the same options, and those of one event in it the same answer.

    Raises BadRecipe with the first two that don't go together.
    """
    options: dict[str, Probe] = {}
    answers: dict[tuple[str, str], Probe] = {}
    for probe in probes:
        other = options.setdefault(probe.family, probe)
        if set(other.options) != set(probe.options):
            raise BadRecipe(
                f"{name}: probes {other.number} and {probe.number} are of the family {probe.family!r} and have other "
                "options: give each set of options a family of its own"
            )
        same = answers.setdefault((probe.family, probe.event), probe)
        if same.options[same.answer] != probe.options[probe.answer]:
            raise BadRecipe(
                f"{name}: probes {same.number} and {probe.number} are of one family and one event ({probe.event}), and "
                "have other answers: give each its own family, such as the company that it is about"
            )


def split_by(probes: Sequence[Probe], end: datetime) -> dict[SideName, list[Probe]]:
    """Return the probes before and after a knowledge end; those of the very day are in neither.

    Raises BadRecipe where one side has none.
    """
    sides: dict[SideName, list[Probe]] = {"before": [], "after": []}
    for probe in probes:
        if (side := probe.side(end)) is not None:
            sides[side].append(probe)
    missing: SideName
    for missing in ("before", "after"):
        if not sides[missing]:
            why = (
                "nothing shows that the base could recall a fact at all"
                if missing == "before"
                else "there is nothing that the base must not know"
            )
            raise BadRecipe(
                f"no probe is from {missing} the base's knowledge end ({format_instant(end)}), so that {why}: add some"
            )
    return sides
