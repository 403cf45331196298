"""Check the format of manifests: the one that this release reads and writes (docs/reference/format.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import Corrupted

FORMAT: Final = 2


def known_format(manifest: Any, path: Path | str) -> dict[str, Any]:
    """Return a plain manifest if its format is FORMAT.

    `path` is for the message only. Raises Corrupted for any other format.
    """
    if isinstance(manifest, dict) and manifest.get("format") == 1:
        raise Corrupted(f"{path} is of format 1, which was never released: train or import the adapter again")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Corrupted(f"{path} isn't of format {FORMAT}: upgrade adapterhub_fin, or restore it from a copy")
    return manifest
