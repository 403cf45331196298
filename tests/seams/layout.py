"""Measure the layout of the packages: files, lines, rooms (folders), arrows (imports between rooms) and circles.

    python tests/seams/layout.py            # a table
    python tests/seams/layout.py --arrows   # and every arrow between two folders

An arrow is an import, wherever it stands: at the top of a module, in a function, or under TYPE_CHECKING. A room is a
folder of one package, and each module at its root.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "adapterhub_fin": ROOT,
    "adapterhub_fin_markets": ROOT / "plugins",
    "adapterhub_fin_plugins": ROOT / "plugins",
    "adapterhub_fin_registry": ROOT / "registry",
}
Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Layout:
    """The modules of some packages by their dotted names, with their lines and what each imports of the others."""

    lines: dict[str, int]
    imports: Graph
    packages: frozenset[str]

    def room(self, module: str) -> str:
        """Return the folder that a module stands in; one at the root of a package is a room of its own."""
        parent = module.rpartition(".")[0]
        return module if module in self.packages or parent in PACKAGES else parent

    def arrows(self) -> Counter[tuple[str, str]]:
        """Count the imports from one room to another."""
        pairs = ((self.room(module), self.room(each)) for module, all_ in self.imports.items() for each in all_)
        return Counter((here, there) for here, there in pairs if here != there)

    def circles(self) -> list[list[str]]:
        """Return the groups of modules that import each other, directly or through others."""
        return circles(self.imports)

    def room_circles(self) -> list[list[str]]:
        """Return the groups of rooms that import each other."""
        graph: Graph = defaultdict(set)
        for here, there in self.arrows():
            graph[here].add(there)
        return circles(graph)


def read_layout(packages: dict[str, Path] = PACKAGES) -> Layout:
    """Read the imports of all modules of the packages, as text."""
    files = {_dotted(path, root): path for name, root in packages.items() for path in (root / name).rglob("*.py")}
    texts = {module: path.read_text(encoding="utf-8") for module, path in sorted(files.items())}
    return Layout(
        {module: len(text.splitlines()) for module, text in texts.items()},
        {module: set(_imported(module, text, texts)) - {module} for module, text in texts.items()},
        frozenset(module for module, path in files.items() if path.name == "__init__.py"),
    )


def _dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imported(module: str, text: str, known: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(text, module)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                if whole in known or node.module in known:
                    yield whole if whole in known else node.module


def circles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected groups of more than one node (Tarjan 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the layout of the packages.")
    parser.add_argument("--arrows", action="store_true", help="show every arrow between two rooms")
    shown = parser.parse_args()
    layout = read_layout()
    rooms: dict[str, list[str]] = defaultdict(list)
    for module in layout.lines:
        rooms[layout.room(module)].append(module)
    for room, modules in sorted(rooms.items()):
        print(f"{room:55} {len(modules):4} files {sum(layout.lines[each] for each in modules):6} lines")
    arrows = layout.arrows()
    print(
        f"{len(layout.lines)} files, {sum(layout.lines.values())} lines, {len(rooms)} rooms, "
        f"{sum(arrows.values())} arrows between {len(arrows)} pairs of rooms, "
        f"{len(layout.circles())} circles of modules, {len(layout.room_circles())} of rooms"
    )
    for group in [*layout.circles(), *layout.room_circles()]:
        print("circle:", " ".join(group))
    if shown.arrows:
        for (here, there), count in sorted(arrows.items()):
            print(f"{here} -> {there}: {count}")


if __name__ == "__main__":
    main()
