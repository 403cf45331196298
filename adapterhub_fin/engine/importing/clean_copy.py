"""Copy an imported PEFT folder: only the files that a version may hold, repaired, with the weights as safetensors."""

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
    """Report which files of a folder were dropped, repaired and converted."""

    dropped: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)  # name -> sha256 of files that were stored in another form


def clean_copy(source: Path, clean: Path, *, allow_pickle: bool) -> CleanCopy:
    """Copy a PEFT folder into the empty folder `clean`.

    Raises NotAnAdapter, before anything is copied, for a folder of something else, and WriteFailed if the copy can't be
    written.
    """
    try:
        _check_links(source)
        read_config(source, source)
        check_weights(source, source, allow_pickle=allow_pickle)
        return _copied(source, clean)
    except OSError as error:
        reason, path = error.strerror or str(error), error.filename
        if path is None or Path(path).is_relative_to(clean):
            raise WriteFailed(
                f"{source} can't be copied to {clean} ({reason}): make room there, or name another folder by TMPDIR"
            ) from error
        raise NotAnAdapter(f"{path} can't be read ({reason}): mend its permissions, or get the folder again") from error


def text(name: str) -> str:
    """Return a file's name as text that JSON can hold: on Linux it may be any bytes, which are then escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _check_links(source: Path) -> None:
    """Refuse links to files outside the folder, before anything is read through them."""
    weights = WEIGHTS if os.path.lexists(source / WEIGHTS) else PICKLE
    for name in (CONFIG, weights):
        if (source / name).is_symlink() and not _within(source / name, source):
            raise NotAnAdapter(f"{source / name} is a link to elsewhere: put the file itself in its place")


def _copied(source: Path, clean: Path) -> CleanCopy:
    copied = CleanCopy()
    for path in sorted(source.iterdir()):
        if _is_allowed(path, source):
            with open_regular(path.resolve()) as reader, (clean / path.name).open("xb") as writer:
                shutil.copyfileobj(reader, writer)
        else:
            copied.dropped.append(text(path.name))
    if not (source / WEIGHTS).is_file():
        from adapterhub_fin.engine.importing.pickled import (
            convert_pickle,  # imports torch, which safetensors don't need
        )

        convert_pickle(source / PICKLE, clean / WEIGHTS, source / PICKLE)
        copied.dropped.remove(PICKLE)
        copied.converted[PICKLE] = hash_file((source / PICKLE).resolve())[1]
        copied.repairs.append(f"{PICKLE}: its tensors are stored as {WEIGHTS}")
    copied.repairs += repair(clean)
    return copied


def _is_allowed(path: Path, source: Path) -> bool:
    """Return whether a version may hold a file, by its kind, its name and its size."""
    if not _within(path, source) or refusal(path.name):
        return False
    if path.suffix == ".safetensors" and path.name != WEIGHTS:
        return False  # a checkpoint may contain the whole model too
    return path.stat().st_size <= size_limit(path.name)


def _within(path: Path, folder: Path) -> bool:
    """Return whether a path is a plain file, or a link to a blob of the same repository in the Hub's cache."""
    if not path.is_file():
        return False
    if not path.is_symlink():
        return True
    snapshots = folder.resolve().parent
    return snapshots.name == "snapshots" and path.resolve().parent == snapshots.parent / "blobs"
