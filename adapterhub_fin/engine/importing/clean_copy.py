"""Copy an imported PEFT folder: only the files that a version may hold, repaired, with the weights as safetensors."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.importing.recognise import check_weights, read_config
from adapterhub_fin.engine.importing.repairs import repair
from adapterhub_fin.engine.peft.adapter_io import write_tensors
from adapterhub_fin.errors import NotAnAdapter, WriteFailed
from adapterhub_fin.plugin.adapter_files import CONFIG, PICKLE, WEIGHTS
from adapterhub_fin_registry.io.safe_read import hash_file, open_regular
from adapterhub_fin_registry.model.file_rules import refusal, size_limit

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")

SAFE_FROM = (2, 6)  # CVE-2025-32434: in earlier releases, weights_only could be bypassed
AGAIN = "save it again with PeftModel.save_pretrained, which writes safetensors"


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
        _convert_pickle(source / PICKLE, clean / WEIGHTS)
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


def _convert_pickle(source: Path, target: Path) -> None:
    """Write the tensors of a pickle to a safetensors file.

    Raises NotAnAdapter if it contains anything but tensors, and WriteFailed if the target can't be written.
    """
    tensors = _checked_tensors(_load_pickle(source), source)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > size_limit(target.name):  # a view of one element can claim any number of them
        raise NotAnAdapter(f"{source} claims {size} bytes of tensors, beyond what a version may hold: {AGAIN}")
    write_tensors(tensors, target)


def _load_pickle(source: Path) -> Any:
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < SAFE_FROM:
        raise NotAnAdapter(f"{source} is a pickle, and torch {torch.__version__} can't read one safely: upgrade torch")
    try:
        # Without map_location, a tensor that was saved on a GPU would need one.
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or truncated file may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotAnAdapter(f"{source} can't be read as tensors alone ({reason}): {AGAIN}") from error


def _checked_tensors(loaded: Any, source: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, dict) or not loaded:
        raise NotAnAdapter(f"{source} holds no tensors by name, but a {type(loaded).__name__}: {AGAIN}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise NotAnAdapter(f"{source} holds {type(value).__name__} under {name!r} among tensors: {AGAIN}")
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise NotAnAdapter(f"{source} holds {name} in a form that safetensors can't store: {AGAIN}")
    return loaded
