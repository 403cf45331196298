"""Document every public name of a package from its docstring: the directive `ahf-api`.

Names come from the package's `__all__`, and are imported with torch and its kin replaced by stand-ins, so that a build
needs none of them. Docstrings are plain text with code in backticks and indented examples; here they become RST.
"""

from __future__ import annotations

import re
from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.ext.autodoc.mock import mock
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SPECIAL = re.compile(r"(`[^`]*`)|([*_|\\])")


def public_members(package: str, mocked: list[str]) -> list[tuple[str, str]]:
    """Return each public name of a package with the autodoc directive that documents it: errors last."""
    with mock(mocked):
        module = import_module(package)
        names = [name for name in module.__all__ if not name.startswith("__")]
        members = [(name, getattr(module, name)) for name in names]
    return [(name, directive(value)) for name, value in sorted(members, key=lambda pair: order(*pair))]


def directive(value: Any) -> str:
    """Return the autodoc directive for a value."""
    if isinstance(value, type):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if isfunction(value) else "autodata"


def order(name: str, value: Any) -> tuple[int, str]:
    """Return what sorts functions before classes, and classes before errors and data."""
    kinds = ("autofunction", "autoclass", "autoexception", "autodata")
    return kinds.index(directive(value)), name


class ApiReference(SphinxDirective):
    """Document the public names of the package that is its argument, without those of a second one."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        package, *others = self.arguments
        documented = {name for other in others for name in import_module(other).__all__}
        lines: list[str] = []
        for name, kind in public_members(package, self.config.autodoc_mock_imports):
            if name in documented:
                continue
            lines += [f".. {kind}:: {package}.{name}"]
            lines += ["   :members:", ""] if kind == "autoclass" else [""]
        container = nodes.container()
        rst = "\n".join(["```{eval-rst}", *lines, "```"])
        self.state.nested_parse(StringList(rst.splitlines(), package), self.content_offset, container)
        return list(container.children)


def plain_to_rst(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring as RST, in place: paragraphs are escaped, and indented blocks become code."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = [line for block in blocks for line in (*rst_block(block), "")]


def rst_block(block: str) -> list[str]:
    """Return one paragraph, list or example of a docstring as RST."""
    lines = block.splitlines()
    if any(line.startswith("    ") or line[:1] in "├│└" for line in lines) or block.startswith(">>>"):
        return [".. code-block:: text", "", *("   " + line for line in lines)]
    return [SPECIAL.sub(lambda match: match[1] or "\\" + match[2], line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the hook."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("ahf-api", ApiReference)
    app.connect("autodoc-process-docstring", plain_to_rst)
    return {"parallel_read_safe": True}
