"""A copy of a foreign PEFT folder with what a version may hold and no more, repaired, its weights as safetensors."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from adapterhub_fin.engine.importing.recognise import check_weights, read_config
from adapterhub_fin.engine.importing.repairs import repair
from adapterhub_fin.errors import NotAnAdapter, WriteFailed
from adapterhub_fin.plugin.adapter_files import CONFIG, PICKLE, WEIGHTS
from adapterhub_fin_registry.io.safe_read import hash_file, open_regular
from adapterhub_fin_registry.model.file_rules import refusal, size_limit


@dataclass
class CleanCopy:
    """What became of a folder's files on their way in."""

    dropped: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)  # sha256 by name of the files that were read and not kept


def clean_copy(source: Path, clean: Path, *, allow_pickle: bool) -> CleanCopy:
    """Copy a folder to an empty one; NotAnAdapter says what it is instead, before anything is copied.

    Raises WriteFailed where the copy can't be written.
    """
    try:
        _check_links(source)
        read_config(source, source)
        check_weights(source, source, allow_pickle=allow_pickle)
        return _copied(source, clean)
    except OSError as error:
        reason, place = error.strerror or str(error), error.filename
        if place is None or Path(place).is_relative_to(clean):
            raise WriteFailed(
                f"{source} can't be copied to {clean} ({reason}): make room there, or name another place by TMPDIR"
            ) from error
        raise NotAnAdapter(
            f"{place} can't be read ({reason}): mend its permissions, or get the folder again"
        ) from error


def text(name: str) -> str:
    """A file's name as text: on Linux it may be any bytes, which JSON has no place for."""
    return name.encode("utf-8", "backslashreplace").decode()


def _check_links(source: Path) -> None:
    """Nothing is read through a link to elsewhere, not even to say what is wrong with it."""
    weights = WEIGHTS if os.path.lexists(source / WEIGHTS) else PICKLE
    for name in (CONFIG, weights):
        if (source / name).is_symlink() and not _within(source / name, source):
            raise NotAnAdapter(f"{source / name} is a link to elsewhere: put the file itself in its place")


def _copied(source: Path, clean: Path) -> CleanCopy:
    copied = CleanCopy()
    for path in sorted(source.iterdir()):
        if _is_kept(path, source):
            with open_regular(path.resolve()) as reader, (clean / path.name).open("xb") as writer:
                shutil.copyfileobj(reader, writer)
        else:
            copied.dropped.append(text(path.name))
    if not (source / WEIGHTS).is_file():
        from adapterhub_fin.engine.importing.pickled import (
            convert_pickle,  # torch, which tensors in safetensors need not
        )

        convert_pickle(source / PICKLE, clean / WEIGHTS, source / PICKLE)
        copied.dropped.remove(PICKLE)
        copied.converted[PICKLE] = hash_file((source / PICKLE).resolve())[1]
        copied.repairs.append(f"{PICKLE}: its tensors are stored as {WEIGHTS}")
    copied.repairs += repair(clean)
    return copied


def _is_kept(path: Path, source: Path) -> bool:
    """Whether a version may hold a file, by its kind, its name and its size."""
    if not _within(path, source) or refusal(path.name):
        return False
    if path.suffix == ".safetensors" and path.name != WEIGHTS:
        return False  # a checkpoint may hold the whole model beside its adapter
    return path.stat().st_size <= size_limit(path.name)


def _within(path: Path, folder: Path) -> bool:
    """Whether a plain file lies here, or in the blobs of the same repository in the Hub's cache, which links them."""
    if not path.is_file():
        return False
    if not path.is_symlink():
        return True
    snapshots = folder.resolve().parent
    return snapshots.name == "snapshots" and path.resolve().parent == snapshots.parent / "blobs"
