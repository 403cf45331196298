"""Draw a version's lineage, for `ahf show --lineage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from adapterhub_fin.cli.options import print_drawn, print_json, printable

if TYPE_CHECKING:
    from rich.tree import Tree

    from adapterhub_fin_registry.storage.lineage import Lineage, Relative


def show_lineage(lineage: Lineage, asked: Mapping[str, str], as_json: bool) -> None:
    """Print the ancestors and the descendants of a version, as a tree or as JSON."""
    version = lineage.version
    if as_json:
        found = {
            "ancestors": [asdict(each) for each in lineage.ancestors],
            "descendants": [asdict(each) for each in lineage.descendants],
        }
        print_json({"reference": version.reference, "digest": version.digest, **asked, **found})
        return
    print_drawn(_drawn(lineage))


def _drawn(lineage: Lineage) -> Tree:
    from rich.markup import escape
    from rich.tree import Tree

    tree = Tree(escape(f"{lineage.version.reference}  {lineage.version.digest}"))
    for title, relatives in (("came from", lineage.ancestors), ("led to", lineage.descendants)):
        branch = tree.add(title if relatives else f"{title} nothing that is known here")
        _grow(branch, relatives)
    return tree


def _grow(tree: Tree, relatives: Sequence[Relative]) -> None:
    from rich.markup import escape

    for each in relatives:
        _grow(tree.add(escape(_said(each))), each.relatives)


def _said(relative: Relative) -> str:
    """A relative in one line."""
    weight = "" if relative.weight is None else f", weight {relative.weight:g}"
    where = {
        "here": " = ".join(relative.references),
        "deleted": f"{' = '.join(relative.references)}, deleted",
        "absent": f"{relative.name}, not in this registry",
    }[relative.state]
    more = ", more of it is left out" if relative.cut else ""
    return printable(f"{where}  ({relative.role}{weight}{more})  {relative.digest[:19]}")
