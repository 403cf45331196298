"""Print a version's lineage, for `ahf show --lineage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from adapterhub_fin.plugin.console import print_drawn, print_json, printable

if TYPE_CHECKING:
    from rich.tree import Tree

    from adapterhub_fin_registry.storage.lineage import Lineage, Relative


def show_lineage(lineage: Lineage, chosen_by: Mapping[str, str], as_json: bool) -> None:
    """Print the ancestors and the descendants of a version, as a tree or as JSON.

    `chosen_by` is the point in time that chose the version, as `dated_by` returns it, for the JSON.
    """
    version = lineage.version
    if as_json:
        relatives = {
            "ancestors": [asdict(relative) for relative in lineage.ancestors],
            "descendants": [asdict(relative) for relative in lineage.descendants],
        }
        print_json({"reference": version.reference, "digest": version.digest, **chosen_by, **relatives})
        return
    print_drawn(_drawn(lineage))


def _drawn(lineage: Lineage) -> Tree:
    from rich.markup import escape
    from rich.tree import Tree

    tree = Tree(escape(f"{lineage.version.reference}  {lineage.version.digest}"))
    for title, relatives in (("came from", lineage.ancestors), ("led to", lineage.descendants)):
        branch = tree.add(title if relatives else f"{title} nothing known here")
        _grow(branch, relatives)
    return tree


def _grow(tree: Tree, relatives: Sequence[Relative]) -> None:
    from rich.markup import escape

    for relative in relatives:
        _grow(tree.add(escape(_line(relative))), relative.relatives)


def _line(relative: Relative) -> str:
    weight = "" if relative.weight is None else f", weight {relative.weight:g}"
    where = {
        "here": " = ".join(relative.references),
        "deleted": f"{' = '.join(relative.references)}, deleted",
        "absent": f"{relative.name}, not in this registry",
    }[relative.state]
    more = ", its own relatives are left out" if relative.cut else ""
    return printable(f"{where}  ({relative.role}{weight}{more})  {relative.digest[:19]}")
