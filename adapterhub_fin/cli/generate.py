"""Define `ahf generate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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
    fold_option,
    lock_option,
    read_texts,
    say_answering,
    texts_argument,
)
from adapterhub_fin.plugin.console import json_option, print_json

if TYPE_CHECKING:
    from pydantic import BaseModel


def _model() -> type[BaseModel]:
    from adapterhub_fin.recipe.decoding import Decoding

    return Decoding


@click.command("generate", cls=ModelCommand, model=_model)
@click.argument("reference", type=REFERENCE)
@texts_argument
@click.option("--chat", is_flag=True, help="Treat each prompt as a user's message in a conversation.")
@click.option("--system", metavar="TEXT", help="The system message of the conversation; implies --chat.")
@base_options
@fold_option
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    texts: tuple[str, ...],
    file: Path | None,
    chat: bool,
    system: str | None,
    base: str | None,
    download: bool,
    batch_size: int,
    fold: bool,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate text from prompts.

    On a terminal, the answer to one prompt is streamed. Several prompts are answered in batches, with an empty line
    between the answers.

    \b
    Examples:
      ahf generate acme/notes "Margins widened in" --max-new-tokens 16
      ahf generate acme/notes --chat --system "You write notes." "Sum up the quarter." --max-new-tokens 8
      ahf generate acme/notes --temperature 0.8 --seed 1 --max-new-tokens 8 --json "Orders rose" "Orders fell"
    """
    from adapterhub_fin.plugin.options import checked
    from adapterhub_fin.recipe.decoding import Decoding

    prompts = read_texts(texts, file)
    checked(Decoding, options, "generate")  # refuse a wrong option before torch is imported
    inputs = [_conversation(text, system) if chat or system is not None else text for text in prompts]
    adapter = load_to_answer(
        "generate",
        reference,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
        fold=fold,
    )
    if not as_json:
        say_answering(adapter.reference, as_of, include_base)
        if len(inputs) == 1 and sys.stdout.isatty():
            _stream(adapter.stream(inputs[0], **options))
            return
    answers = adapter.generate(inputs, batch_size, progress=True, **options)
    if not as_json:
        click.echo("\n\n".join(answers))
        return
    used = {
        "reference": adapter.reference,
        "digest": adapter.version.digest,
        **dated_by(as_of, include_base),
        "options": options,
    }
    print_json({**used, "answers": [{"prompt": p, "text": t} for p, t in zip(prompts, answers, strict=True)]})


def _conversation(text: str, system: str | None) -> list[dict[str, str]]:
    system_message = [] if system is None else [{"role": "system", "content": system}]
    return [*system_message, {"role": "user", "content": text}]


def _stream(pieces: Iterator[str]) -> None:
    try:
        for piece in pieces:
            click.echo(piece, nl=False)
    finally:
        click.echo()  # start the shell's prompt on a new line, also after Ctrl-C
