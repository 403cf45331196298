"""Print rows of versions as a table, for `ahf list` and `ahf search`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from adapterhub_fin.plugin.console import print_table

_COLUMNS = ("version", "aliases", "method", "head", "corpus", "knowledge end", "metrics")


def print_versions(rows: Iterable[Mapping[str, Any]], *, several: bool) -> None:
    """Print one line for each version; with `several` registries, also the registry, and among bases also the kind."""
    listed = list(rows)
    kinds = any(row["kind"] != "adapter" for row in listed)
    columns = (*(("registry",) if several else ()), *(("kind",) if kinds else ()), *_COLUMNS)
    cells = [
        (*((_registry(row),) if several else ()), *((row["kind"],) if kinds else ()), *_cells(row)) for row in listed
    ]
    print_table(columns, cells)


def say_damaged(damaged: Mapping[str, str]) -> None:
    """Print on standard error what can't be read, one line each."""
    for reference, problem in damaged.items():
        click.echo(f"{reference}: {problem}", err=True)


def _registry(row: Mapping[str, Any]) -> str:
    return f"{row['registry']} (hidden)" if row["hidden"] else str(row["registry"])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['name']}@{row['version']}" + (" (yanked)" if row["yanked"] else ""),
        " ".join(row["aliases"]),
        row["method"],
        row["head"] or "",
        row["corpus"] or "",
        str(row["knowledge_end"])[:10],
        " ".join(f"{metric}={value:.3f}" for metric, value in sorted(row["metrics"].items())),
    )
