"""Log every trial of a registry's sweeps, so that a later one says among how many its version was chosen.

The log outlives the folders of sweeps. A line is appended at once and synced; a last line that a crash cut off is
skipped when the log is read, and ended before the next line is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from adapterhub_fin.engine.training.manifest import recorded_recipe
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.clock import read_clock
from adapterhub_fin_registry.model.knowledge import format_instant

LOG: Final = "trials.jsonl"
_APART: Final = ("name", "description", "license", "tags")  # keys that no score depends on
_TRAINING_APART: Final = ("report_to", "baseline")


def trial_digest(recipe: Recipe, folds: int | None) -> str:
    """Return what identifies a trial, whichever sweep it is of: all that its score depends on but the rows."""
    document = {key: value for key, value in recorded_recipe(recipe).items() if key not in _APART}
    training = {key: value for key, value in document["training"].items() if key not in _TRAINING_APART}
    return sha256(canonical({**document, "training": training, "folds": folds})).hexdigest()


def log_trials(root: Path, corpus: str, trials: Iterable[str], sweep: str) -> None:
    """Append the trials of a sweep that are not in the log yet; `corpus` is the digest of the rows."""
    path = root / LOG
    with FileLock(root / "runs" / f"{LOG}.lock"):
        logged = {(entry.get("corpus"), entry.get("trial"), entry.get("sweep")) for entry in _entries(path)}
        at = format_instant(read_clock())
        lines = [
            json.dumps({"at": at, "corpus": corpus, "sweep": sweep, "trial": trial}, sort_keys=True)
            for trial in dict.fromkeys(trials)
            if (corpus, trial, sweep) not in logged
        ]
        if not lines:
            return
        with path.open("ab+") as file:
            file.seek(0, os.SEEK_END)
            if file.tell() and not _ends_a_line(path):
                file.write(b"\n")
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


def earlier_trials(root: Path, corpus: str, trials: Iterable[str]) -> int:
    """Count the distinct trials in the log on these rows, without those of the sweep itself."""
    return len({entry["trial"] for entry in _entries(root / LOG) if entry.get("corpus") == corpus} - set(trials))


def _ends_a_line(path: Path) -> bool:
    return path.read_bytes().endswith(b"\n")


def _entries(path: Path) -> list[Mapping[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    entries = list[Mapping[str, Any]]()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut off by a crash
        if isinstance(entry, dict) and "trial" in entry:
            entries.append(entry)
    return entries
