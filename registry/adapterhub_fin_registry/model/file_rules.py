"""Define which paths a version's files may have.

A path is relative, valid on POSIX and on Windows alike, and of an allowed file type.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from adapterhub_fin_registry.model.reference import is_windows_device

CONFIG: Final = "adapter_config.json"  # as PEFT names its files
WEIGHTS: Final = "adapter_model.safetensors"
BASE_CONFIG: Final = "config.json"  # as Transformers names that of a model
_SUFFIXES: Final = {".safetensors": 16 * 2**30, ".json": 64 * 2**20, ".md": 2**20, ".txt": 64 * 2**20, ".jinja": 2**20}
_NAMES: Final = {"tokenizer.model": 64 * 2**20}
# On a Hub these paths at the root belong to the model card, the manifest and the signatures.
_RESERVED: Final = frozenset({"readme.md", "ahf_manifest.json", "ahf_signatures"})
_FORBIDDEN: Final = frozenset('<>:"|?*\\')
ALLOWED: Final = ".safetensors, .json, .md, .txt, .jinja and tokenizer.model"


def refusal(path: str) -> str | None:
    """Return why a path can't be stored, as the end of a sentence that begins with it; None if it can."""
    return _unsafe(path) or _not_allowed(path)


def size_limit(path: str) -> int:
    """Return how many bytes a file of an allowed path may have at most. Raises KeyError for any other path."""
    pure = PurePosixPath(path)
    return _NAMES.get(pure.name) or _SUFFIXES[pure.suffix]


def clash(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two paths that would collide on some systems, as one file or as a file and its own folder; else None.

    Such systems ignore case or the Unicode form.
    """
    files: dict[str, str] = {}
    listed = sorted(paths)
    for path in listed:
        if _folded(path) in files:
            return files[_folded(path)], path
        files[_folded(path)] = path
    seen: set[str] = set()
    for path in listed:
        parent = _folded(path)
        while (parent := parent.rpartition("/")[0]) and parent not in seen:
            if parent in files:
                return files[parent], path
            seen.add(parent)  # its parents are then seen too: a path may be hundreds of folders deep
    return None


def _unsafe(path: str) -> str | None:
    if len(path.encode(errors="surrogatepass")) > 400:
        return "is too long for some systems"
    if not path.isprintable():
        return "holds a character that can't be printed"
    if _FORBIDDEN.intersection(path):
        return "holds one of the characters that Windows forbids"
    if unicodedata.normalize("NFC", path) != path:
        return "isn't in Unicode form NFC, so that another system may rename it"
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            return "isn't a plain relative path"
        if segment.startswith((".", " ")) or segment.endswith((".", " ")):
            return "begins or ends a name with a dot or a space"
        if is_windows_device(segment):
            return "is a device's name on Windows"
    return None


def _not_allowed(path: str) -> str | None:
    pure = PurePosixPath(path)
    if pure.parts[0].casefold() in _RESERVED:
        return "is the path of the card, the manifest or a signature on a Hub"
    if pure.suffix not in _SUFFIXES and pure.name not in _NAMES:
        return f"isn't of an allowed kind ({ALLOWED})"
    return None


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
