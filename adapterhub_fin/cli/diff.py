"""ahf diff"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json, print_table, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.evaluation.diff import Comparison, Described, TensorDifference

WIDTH = 60  # letters of a value in the table; --json has it whole


@click.command("diff")
@click.argument("a", type=REFERENCE)
@click.argument("b", type=REFERENCE)
@click.option("--exit-code", is_flag=True, help="Exit with status 1 where anything differs.")
@json_option
def command(a: str, b: str, exit_code: bool, as_json: bool) -> None:
    """Compare two versions: their manifests, and, tensor by tensor, their weights.

    The distance of two tensors is that of their elements: the largest, and all of them over the length of A's.

    \b
    Examples:
      ahf diff acme/tone@1 acme/notes@1
      ahf diff acme/tone@1 acme/tone --exit-code --json
    """
    from adapterhub_fin import diff

    found = diff(a, b)
    if as_json:
        print_json(_document(found))
    else:
        _print(found)
    if exit_code and not found.same:
        raise click.exceptions.Exit(1)


def _document(found: Comparison) -> dict[str, Any]:
    return {
        "a": {"reference": found.a.reference, "digest": found.a.digest},
        "b": {"reference": found.b.reference, "digest": found.b.digest},
        "same": found.same,
        "fields": [each._asdict() for each in found.fields],
        "tensors": [
            {
                "name": each.name,
                "a": _shape(each.a),
                "b": _shape(each.b),
                "max_abs": each.max_abs,
                "relative_l2": each.relative_l2,
                "not_finite": each.not_finite,
            }
            for each in found.tensors
        ],
        "same_tensors": found.same_tensors,
    }


def _shape(described: Described | None) -> dict[str, Any] | None:
    return None if described is None else {"dtype": described[0], "shape": list(described[1])}


def _print(found: Comparison) -> None:
    heading = (found.a.reference, found.b.reference)
    if found.same:
        click.echo(f"{heading[0]} and {heading[1]} are the same, {found.same_tensors} tensors included")
        return
    if found.fields:
        rows = [
            (
                printable(each.field),
                _text(each.a) if "a" in each.sides else "-",
                _text(each.b) if "b" in each.sides else "-",
            )
            for each in found.fields
        ]
        print_table(("field", *heading), rows)
        click.echo()
    if found.tensors:
        print_table(("tensor", *heading, "largest", "relative L2"), [_row(each) for each in found.tensors])
    click.echo(f"{len(found.tensors)} tensors differ, {found.same_tensors} are the same bit for bit")


def _row(each: TensorDifference) -> tuple[str, ...]:
    sides = (
        "-" if side is None else f"{side[0]} {'x'.join(map(str, side[1])) or 'scalar'}" for side in (each.a, each.b)
    )
    largest, relative = ("" if value is None else f"{value:.3g}" for value in (each.max_abs, each.relative_l2))
    odd = f" ({each.not_finite} not finite)" if each.not_finite else ""
    return (printable(each.name), *sides, largest + odd, relative)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
