"""Write what each row of an evaluation got to a file of the user's: truth, answer and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapterhub_fin.errors import BadRecipe, WriteFailed

if TYPE_CHECKING:
    import pyarrow

KINDS: Final = (".parquet", ".jsonl")


def check_out(path: Path) -> None:
    """Raise BadRecipe for a file of another kind than .parquet or .jsonl, or in a folder that doesn't exist."""
    if path.suffix.lower() not in KINDS:
        raise BadRecipe(f"{path.name} is neither a .parquet nor a .jsonl file: give the rows one of these suffixes")
    if not path.parent.is_dir():
        raise BadRecipe(f"the folder {path.parent} of the rows does not exist: make it, or name another")


def write_outcomes(path: Path, outcomes: pyarrow.Table) -> None:
    """Write the outcomes by row; the file appears whole. Raises WriteFailed where the disk refuses."""
    from pyarrow import parquet

    draft = path.with_name(f".{path.name}.draft")
    try:
        if path.suffix.lower() == ".parquet":
            parquet.write_table(outcomes, draft)
        else:
            lines = (json.dumps(row, ensure_ascii=False) for row in outcomes.to_pylist())
            draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise WriteFailed(f"the rows can't be written to {path} ({error.strerror}): name another file") from error
    finally:
        draft.unlink(missing_ok=True)
