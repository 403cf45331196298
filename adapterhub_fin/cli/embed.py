"""Define `ahf embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.answering import load_to_answer
from adapterhub_fin.cli.model_options import ModelCommand
from adapterhub_fin.cli.options import (
    REFERENCE,
    as_of_options,
    base_options,
    dated_by,
    lock_option,
    read_texts,
    say_answering,
    texts_argument,
)
from adapterhub_fin.plugin.console import print_json

if TYPE_CHECKING:
    from pydantic import BaseModel


def _model() -> type[BaseModel]:
    from adapterhub_fin.engine.inference.embedding import Embedding

    return Embedding


@click.command("embed", cls=ModelCommand, model=_model)
@click.argument("reference", type=REFERENCE)
@texts_argument
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a .npy file instead of JSON lines.")
@base_options
@as_of_options
@lock_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, which is the default; not with --out.")
def command(
    reference: str,
    texts: tuple[str, ...],
    file: Path | None,
    out: Path | None,
    base: str | None,
    download: bool,
    batch_size: int,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Embed texts as vectors with an adapter.

    A vector pools one layer's hidden states over the text's tokens. Prints one JSON line for each text; --out writes a
    .npy file of float32 with shape (texts, hidden size).

    \b
    Examples:
      ahf embed acme/tone "Margins widened in the third quarter."
      ahf embed acme/tone --out vectors.npy "Orders rose." "Orders fell."
      ahf embed acme/tone --pooling max --layer 1 --normalize "Orders rose."
    """
    if as_json and out is not None:
        raise click.UsageError("--json prints lines and --out writes a file: choose one")
    if out is not None and not out.parent.is_dir():
        raise click.BadParameter(f"the folder {out.parent} does not exist", param_hint="--out")
    inputs = read_texts(texts, file)
    adapter = load_to_answer(
        "embed", reference, base=base, as_of=as_of, include_base=include_base, lock=lock, download=download
    )
    vectors = adapter.embed(inputs, batch_size, progress=True, **options)
    if out is None:
        for text, vector in zip(inputs, vectors.tolist(), strict=True):
            print_json(
                {"text": text, "embedding": vector, "reference": adapter.reference, **dated_by(as_of, include_base)}
            )
        return
    import numpy as np

    np.save(out, vectors)
    say_answering(adapter.reference, as_of, include_base)
    click.echo(f"{vectors.shape[0]} x {vectors.shape[1]} vectors are in {out}", err=True)
