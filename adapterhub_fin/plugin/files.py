"""Name the files of a corpus in its options: one, a list, a glob, or the files of each part."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from adapterhub_fin.errors import BadCorpus

Part = Literal["train", "validation", "test"]
FilesByPart = Path | tuple[Path, ...] | dict[Part, Path | tuple[Path, ...]]


def files_by_part(files: FilesByPart) -> list[tuple[Path, Part | None]]:
    """Return each file with its part, or with None where the option gives no parts; a glob's files are sorted.

    Raises BadCorpus for a glob that matches no file, and for a file that is named twice.
    """
    parts: list[tuple[Part | None, Path | tuple[Path, ...]]] = (
        [*files.items()] if isinstance(files, dict) else [(None, files)]
    )
    listed = [
        (file, part)
        for part, paths in parts
        for path in ((paths,) if isinstance(paths, Path) else paths)
        for file in matches(path.expanduser())
    ]
    if twice := sorted({str(path) for path, _ in listed if sum(other == path for other, _ in listed) > 1}):
        raise BadCorpus(f"{twice[0]} is named twice: each of its rows would count twice; name it once")
    if not listed:
        raise BadCorpus("no file is named: give one")
    return listed


def paths_in(value: Any) -> Iterator[Path]:
    """Yield every path in an option's value: in lists, mappings and models too."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from paths_in(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from paths_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from paths_in(inner)


def is_glob(path: Path) -> bool:
    """Return whether a path is a pattern, of which no file has the name."""
    return glob.has_magic(str(path)) and not path.exists()


def matches(path: Path) -> list[Path]:
    """Return the files that a glob matches, sorted, or the path itself. Raises BadCorpus where none does."""
    if not is_glob(path):
        return [path]
    names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - a pathlib glob begins at a folder
    files = sorted(Path(name) for name in names if Path(name).is_file())
    if not files:
        raise BadCorpus(f"no file matches {path}: change the pattern, or name the files")
    return files


def decoded(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte-order mark.

    Raises BadCorpus for a file that can't be read, and for a line that isn't UTF-8, which it names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCorpus(f"{path} can't be read ({error.strerror}): give the path of a file") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadCorpus(f"{path.name}, line {line} is not UTF-8: convert the file, as with iconv -t utf-8") from error
