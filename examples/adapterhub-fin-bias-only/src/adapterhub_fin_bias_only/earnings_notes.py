"""Read notes on earnings from a CSV: the text, its tone for an investor, and when it was published."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from datasets import Dataset

from adapterhub_fin import BadCorpus, Rows
from adapterhub_fin.plugin import CorpusImplementation
from adapterhub_fin_bias_only.options import EarningsNotesOptions

COLUMNS = ("published", "company", "tone", "note")


class EarningsNotes(CorpusImplementation):
    """Read one row for each note; `group` is the company, so that a grouped split tests on unseen companies."""

    def __init__(self, options: EarningsNotesOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a file that can't be read, or a row without a date and a time zone."""
        source = self.options.path or files(__package__).joinpath("earnings_notes.csv")
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(f"{source} can't be read: {error}") from error
        reader = csv.DictReader(io.StringIO(text))
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise _bad(f"{source.name} has no column {missing[0]!r}; it needs {', '.join(COLUMNS)}")
        rows = [_row(source.name, reader.line_num, line) for line in reader]
        if not rows:
            raise _bad(f"{source.name} has no notes: add some rows")
        return Rows(Dataset.from_list(rows))


def _row(file: str, line: int, cells: dict[str, Any]) -> dict[str, Any]:
    try:
        moment = datetime.fromisoformat(cells["published"])
    except (TypeError, ValueError) as error:
        raise _bad(f"{file}, line {line}: {cells['published']!r} isn't a date; write 2021-02-03T07:00Z") from error
    if moment.tzinfo is None:
        raise _bad(f"{file}, line {line}: published has no time zone; write 2021-02-03T07:00Z")
    return {
        "text": cells["note"],
        "label": cells["tone"],
        "available_at": moment.astimezone(UTC),
        "label_known_at": moment.astimezone(UTC),  # the tone follows from the note itself
        "group": cells["company"],
        "origin": f"{file}:{line}",
    }


def _bad(sentence: str) -> BadCorpus:
    return BadCorpus(f"corpus earnings-notes: {sentence}")
