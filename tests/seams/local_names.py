"""Count the local names that come from the project's old private vocabulary.

    python tests/seams/local_names.py          # the share, and the modules with most of them
    python tests/seams/local_names.py --list   # and each place

A local name is a parameter, or a name that a function binds: by assignment, `for`, `with`, `except`, `:=` or in a
comprehension. Each function counts a name once.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "adapterhub_fin",
    "plugins/adapterhub_fin_plugins",
    "plugins/adapterhub_fin_markets",
    "registry/adapterhub_fin_registry",
)
POOL = frozenset(
    ["found", "each", "said", "told", "known", "kept", "place", "wanted", "whole", "named", "held", "beside", "asked"]
)
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def local_names(function: Function) -> Iterator[tuple[str, int]]:
    """Yield each local name of a function once, with its line; nested functions have their own."""
    seen = set()
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None and argument.arg not in seen:
            seen.add(argument.arg)
            yield argument.arg, argument.lineno
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    for node in _within(body):
        name = _bound(node)
        if name is not None and name not in seen:
            seen.add(name)
            yield name, getattr(node, "lineno", function.lineno)


def _bound(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.name if isinstance(node, ast.ExceptHandler) else None


def _within(nodes: list[ast.AST] | list[ast.stmt] | list[ast.expr]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _within(list(ast.iter_child_nodes(node)))


def all_local_names(root: Path = ROOT) -> Iterator[tuple[Path, str, int]]:
    """Yield (file, name, line) for every local name of the packages."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, Function):
                    yield from ((path, name, line) for name, line in local_names(node))


def main() -> None:
    parser = argparse.ArgumentParser(description="Count local names from the old vocabulary.")
    parser.add_argument("--list", action="store_true", help="show each place")
    options = parser.parse_args()
    names = list(all_local_names())
    pooled = [(path, name, line) for path, name, line in names if name in POOL]
    by_module = Counter(str(path.relative_to(ROOT)) for path, _, _ in pooled)
    for module, count in by_module.most_common(20):
        print(f"{count:4} {module}")
    if options.list:
        for path, name, line in pooled:
            print(f"{path.relative_to(ROOT)}:{line}: {name}")
    print(f"{len(pooled)} of {len(names)} local names ({len(pooled) / len(names):.2%}) are from the old vocabulary")


if __name__ == "__main__":
    main()
