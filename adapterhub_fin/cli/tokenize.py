"""Define `ahf tokenize`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.completing import SettingType, tokenize_keys
from adapterhub_fin.plugin.console import json_option, print_facts, print_json

if TYPE_CHECKING:
    from adapterhub_fin.engine.data.shards.token_shards import TokenShards


@click.command("tokenize")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--files", multiple=True, metavar="GLOB", help="A file of rows, or a glob in quotes; may be repeated.")
@click.option("--until", metavar="DATE", help="The last day, to its end in UTC, of rows that are taken.")
@click.option("--tokenizer", metavar="FOLDER", help="A folder with tokenizer.json.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(tokenize_keys),
    metavar="KEY=VALUE",
    help="Override a key of the recipe: --set filters.duplicates=near.",
)
@click.option("--restart", is_flag=True, help="Delete what is in FOLDER of another pass.")
@click.option("--verify", is_flag=True, help="Read the shards of FOLDER and compare them with their digests; no more.")
@json_option
def command(
    folder: Path,
    recipe: str | None,
    files: tuple[str, ...],
    until: str | None,
    tokenizer: str | None,
    overrides: tuple[str, ...],
    restart: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Tokenize dated text up to a day into shards for pretraining.

    The rows of .jsonl, .parquet, .csv and .tsv files, or of a corpus, are read one at a time, filtered, and written to
    FOLDER as token ids in files that pretraining maps into memory. A pass that was killed goes on with the same
    command, to the same bytes. RECIPE is a YAML file; options and --set override its keys.

    \b
    Examples:
      ahf tokenize shards/fed-2013 --files "fed/*.jsonl" --until 2013-12-31 --tokenizer tokenizers/fed-2013
      ahf tokenize shards/fed-near fed.yaml --set filters.duplicates=near --set filters.min_characters=200 --json
      ahf tokenize shards/fed-own fed.yaml --set tokenizer.train=8192
      ahf tokenize shards/fed-2013 --verify
    """
    given = {"files": list(files), "until": until, "tokenizer": tokenizer}
    if verify:
        if recipe or overrides or restart or any(given.values()):
            raise click.UsageError("--verify reads the folder alone: leave out the recipe and the other options.")
        from adapterhub_fin import TokenShards

        shards = TokenShards(folder)
        shards.verify()
    else:
        from adapterhub_fin.plugin.documents import read_yaml
        from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe

        document = read_yaml(Path(recipe), TokenizeRecipe) if recipe else {}
        checked = TokenizeRecipe.read({**document, **{key: value for key, value in given.items() if value}}, overrides)
        from adapterhub_fin import tokenize

        shards = tokenize(checked, folder, restart=restart, progress=True)
    if as_json:
        print_json(_document(shards))
    else:
        print_facts([*_facts(shards.record), ("folder", shards.folder)])


def _document(shards: TokenShards) -> dict[str, Any]:
    return {"folder": str(shards.folder), **shards.record}


def _facts(index: Mapping[str, Any]) -> list[tuple[str, Any]]:
    recipe, known = index["recipe"], index["recipe"]["tokenizer"]["known"]
    dated = "with no stated date, so known only by now" if known is None else f"known until {known['at']}"
    if (trained := recipe["tokenizer"]["trained"]) is not None:
        dated = f"trained on {trained['documents']:,} of {trained['of_documents']:,} texts, {dated}"
    return [
        ("documents", f"{index['documents']:,} of {index['rows']:,} rows"),
        *((f"  {reason}", f"{count:,}") for reason, count in index["left_out"].items()),
        ("tokens", f"{index['tokens']:,} in {len(index['shards'])} shards of {recipe['dtype'].lstrip('<')}"),
        ("characters", f"{index['characters']:,}"),
        ("knowledge end", f"{index['knowledge_end']}, cut at {recipe['until']}"),
        ("tokenizer", f"{recipe['tokenizer']['vocabulary']:,} tokens, {dated}"),
        ("digest", index["digest"]),
    ]
