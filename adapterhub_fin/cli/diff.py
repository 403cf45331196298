"""Define `ahf diff`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json, print_table, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.evaluation.diff import Comparison, Described, TensorDifference

WIDTH = 60  # characters of a value in the table; --json has all of it


@click.command("diff")
@click.argument("a", type=REFERENCE)
@click.argument("b", type=REFERENCE)
@click.option("--exit-code", is_flag=True, help="Exit with status 1 if anything differs.")
@json_option
def command(a: str, b: str, exit_code: bool, as_json: bool) -> None:
    """Compare the manifests and the weights of two versions, tensor by tensor.

    For two tensors the largest difference of an element is shown, and the L2 norm of all differences over A's norm.

    \b
    Examples:
      ahf diff acme/tone@1 acme/notes@1
      ahf diff acme/tone@1 acme/tone --exit-code --json
    """
    from adapterhub_fin import diff

    comparison = diff(a, b)
    if as_json:
        print_json(_document(comparison))
    else:
        _print(comparison)
    if exit_code and not comparison.same:
        raise click.exceptions.Exit(1)


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "a": {"reference": comparison.a.reference, "digest": comparison.a.digest},
        "b": {"reference": comparison.b.reference, "digest": comparison.b.digest},
        "same": comparison.same,
        "fields": [field._asdict() for field in comparison.fields],
        "tensors": [
            {
                "name": tensor.name,
                "a": _shape(tensor.a),
                "b": _shape(tensor.b),
                "max_abs": tensor.max_abs,
                "relative_l2": tensor.relative_l2,
                "not_finite": tensor.not_finite,
            }
            for tensor in comparison.tensors
        ],
        "same_tensors": comparison.same_tensors,
    }


def _shape(described: Described | None) -> dict[str, Any] | None:
    return None if described is None else {"dtype": described[0], "shape": list(described[1])}


def _print(comparison: Comparison) -> None:
    heading = (comparison.a.reference, comparison.b.reference)
    if comparison.same:
        click.echo(f"{heading[0]} and {heading[1]} are the same, including their {comparison.same_tensors} tensors")
        return
    if comparison.fields:
        rows = [
            (
                printable(difference.field),
                _text(difference.a) if "a" in difference.sides else "-",
                _text(difference.b) if "b" in difference.sides else "-",
            )
            for difference in comparison.fields
        ]
        print_table(("field", *heading), rows)
        click.echo()
    if comparison.tensors:
        print_table(("tensor", *heading, "largest", "relative L2"), [_row(tensor) for tensor in comparison.tensors])
    click.echo(f"{len(comparison.tensors)} tensors differ, {comparison.same_tensors} are bit-identical")


def _row(tensor: TensorDifference) -> tuple[str, ...]:
    sides = (
        "-" if side is None else f"{side[0]} {'x'.join(map(str, side[1])) or 'scalar'}" for side in (tensor.a, tensor.b)
    )
    largest, relative = ("" if value is None else f"{value:.3g}" for value in (tensor.max_abs, tensor.relative_l2))
    not_finite = f" ({tensor.not_finite} not finite)" if tensor.not_finite else ""
    return (printable(tensor.name), *sides, largest + not_finite, relative)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
