"""Write the vectors of a layer, of base and version, with hashes of their texts and the version's exact reference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.errors import BadRecipe, WriteFailed

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.engine.probing.states import States
else:
    np = Lazy("numpy")

KINDS: Final = (".parquet", ".npz")


def check_vectors(path: Path) -> None:
    """Raise BadRecipe for a file of another kind than .parquet or .npz, or in a folder that doesn't exist."""
    if path.suffix not in KINDS:
        raise BadRecipe(f"vectors go into a .parquet or a .npz file, and not {path.name}: name one of these")
    if not path.parent.is_dir():
        raise BadRecipe(f"the folder {path.parent} of the vectors does not exist: make it, or name another")


def check_layer(layer: int, count: int) -> int:
    """Return a layer as a number from 0 on; -1 is the last of `count`. Raises BadRecipe for one that isn't there."""
    if not -count <= layer < count:
        raise BadRecipe(f"there is no layer {layer}: the base has {count - 1}, and 0 for embeddings")
    return layer % count


def write_vectors(path: Path, table: Dataset, states: States, layer: int, metadata: Mapping[str, Any]) -> None:
    """Write the float32 vectors of a layer: columns or arrays `text_sha256`, `base` and `tuned`, a row for each text.

    The hash is of the normalised text, equal for copies. `metadata`, with the layer's number, is that of the
    file, and in .npz an array, JSON. Raises BadRecipe for a layer that isn't there, and WriteFailed.
    """
    number = check_layer(layer, len(states.base))
    base, tuned = states.base[number], states.tuned[number]
    hashes = [sha256(key.encode()).hexdigest() for key in text_keys(table) or ()]
    metadata = {**metadata, "layer": number}
    draft = path.with_name(f"{path.name}.draft")
    try:
        if path.suffix == ".npz":
            with draft.open("wb") as file:
                np.savez(file, text_sha256=np.array(hashes), base=base, tuned=tuned, metadata=json.dumps(metadata))
        else:
            _write_parquet(draft, hashes, base, tuned, metadata)
        draft.replace(path)
    except OSError as error:
        raise WriteFailed(f"the vectors can't be written to {path} ({error.strerror}): name another file") from error


def _write_parquet(path: Path, hashes: list[str], base: np.ndarray, tuned: np.ndarray, metadata: Any) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {"text_sha256": pyarrow.array(hashes)}
    for name, vectors in (("base", base), ("tuned", tuned)):
        flat = pyarrow.array(np.ascontiguousarray(vectors).ravel())
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = pyarrow.table(columns).replace_schema_metadata({"adapterhub_fin": json.dumps(metadata)})
    parquet.write_table(table, path)
