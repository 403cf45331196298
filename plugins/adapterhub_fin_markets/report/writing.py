"""Write a backtest's report as a folder that appears whole."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adapterhub_fin import WriteFailed
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.report.files import KIND, RESULT, TABLES, result_json, write_tables
from adapterhub_fin_markets.report.head import head_facts
from adapterhub_fin_markets.report.page import render
from adapterhub_fin_markets.report.sections import sections_of

PAGE: Final = "report.html"


def write_report(result: BacktestResult, folder: Path) -> Path:
    """Write a backtest's page, pictures, tables and JSON into a folder, and return the path of the page.

    The folder appears whole, or stays as it was. A report of a backtest in it is replaced. Raises WriteFailed where it
    holds anything else, or can't be written.

    Example:
        >>> page = write_report(backtest("btc.yaml"), Path("report-btc"))
        >>> page.name
        'report.html'
    """
    target = Path(folder).expanduser().resolve()
    check_folder(target)
    sections = sections_of(result)
    pictures = {part.file: part.png for section in sections for part in section.parts if part.png}
    page = render(
        result.recipe.name or "Backtest",
        result.recipe.digest(),
        strict=result.strict,
        red=[mark.sentence for mark in result.marks if mark.red],
        notes=[mark.sentence for mark in result.marks if not mark.red],
        facts=list(head_facts(result)),
        sections=sections,
    )
    with _replaced(target) as part:
        for name, data in pictures.items():
            (part / name).write_bytes(data)
        write_tables(result, part)
        (part / PAGE).write_text(page, encoding="utf-8")
        document = result_json(result, [*pictures, *TABLES, PAGE, RESULT])
        (part / RESULT).write_text(document, encoding="utf-8")
    return target / PAGE


def check_folder(folder: Path) -> None:
    """Raise WriteFailed unless a report may be written to a folder: it isn't there, is empty, or is such a report."""
    if not folder.parent.is_dir():
        raise WriteFailed(f"a report can't be written to {folder}: there is no folder {folder.parent}; make it first")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise WriteFailed(f"{folder} is a file: give a folder for the report")
    there = {path.name for path in folder.iterdir()}
    if foreign := sorted(there - _own_files(folder)):
        raise WriteFailed(f"{folder} holds {foreign[0]}, which no report of a backtest wrote: give another folder")


def _own_files(folder: Path) -> set[str]:
    """Return the files that the report in a folder says it wrote; none where there is no such report."""
    try:
        document = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return set(document["files"]) if document["kind"] == KIND else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Give a new folder beside a target, and put it in the target's place once it is filled."""
    part, old = (target.with_name(f".{target.name}.{secrets.token_hex(4)}.{end}") for end in ("part", "old"))
    try:
        part.mkdir()
        yield part
        if target.exists():
            target.replace(old)
        part.replace(target)
    except OSError as error:
        raise WriteFailed(f"the report can't be written to {target} ({error.strerror}): give another folder") from error
    finally:
        if old.exists() and not target.exists():
            old.replace(target)  # the new one could not take its place
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)
