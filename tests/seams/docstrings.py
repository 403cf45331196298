"""Read what docstrings leave out: an error that a function raises, the shape of an array that it takes or returns."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

_ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|LowRank)\b")
_NESTED = re.compile(r"\b(Mapping|dict|Callable|Iterator|Iterable|Generator|BatchEncoding)\[")
_SHAPE = re.compile(r"\(\w+(?: [+*/-] \w+)*,(?: [\w.]+(?: [+*/-] \w+)*,?)*\)|\bscalars?\b|\bshapes?\b|\belements?\b")


def public_functions(source: str) -> Iterator[Function]:
    """Yield functions and methods that have a docstring and no underscore, neither theirs nor their class's."""
    tree = ast.parse(source)
    for owner in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))):
        if isinstance(owner, ast.ClassDef) and owner.name.startswith("_"):
            continue
        for node in owner.body:
            if isinstance(node, Function) and not node.name.startswith("_") and ast.get_docstring(node):
                yield node


def unnamed_errors(function: Function) -> list[str]:
    """Return the errors that a function raises in its own body and its docstring does not name."""
    docstring = ast.get_docstring(function) or ""
    if re.search(r"Raises what\b", docstring):
        return []
    return sorted({name for name in _raised(function) if not re.search(rf"\b{name}\b", docstring)})


def lacks_shape(function: Function) -> bool:
    """Tell whether a function takes or returns an array and its docstring gives no shape, such as (rows, labels)."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    types = [ast.unparse(each) for each in [*(a.annotation for a in arguments), function.returns] if each is not None]
    arrays = [each for each in types if _ARRAY.search(each) and not _NESTED.search(each)]
    return bool(arrays) and not _SHAPE.search(ast.get_docstring(function) or "")


def _raised(function: Function) -> Iterator[str]:
    nodes: list[tuple[ast.AST, str]] = [(node, "") for node in function.body]
    while nodes:
        node, caught = nodes.pop()
        if isinstance(node, Function | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Try):
            here = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
            nodes.extend((each, f"{caught} {here}") for each in node.body)
            nodes.extend((each, caught) for each in [*node.handlers, *node.orelse, *node.finalbody])
            continue
        nodes.extend((each, caught) for each in ast.iter_child_nodes(node))
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(error).rpartition(".")[2]
            if name[0].isupper() and not re.search(rf"\b{name}\b", caught):  # a class that leaves the function
                yield name
