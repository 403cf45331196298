"""Docstrings begin with a verb, name what is raised and give shapes; ruff holds the rest of their form."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the script that reads them stands beside this file

import docstrings

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "adapterhub_fin",
    "plugins/adapterhub_fin_plugins",
    "plugins/adapterhub_fin_markets",
    "registry/adapterhub_fin_registry",
)
VERBS = frozenset(
    re.findall(
        r"\w+",
        """
    Accept Accumulate Activate Add Advance Allocate Answer Append Apply Ask Assign Attach Begin Bound Bring Build
    Cache Call Carry Change Check Choose Classify Close Collect Commit Compare Compile Complete Compute Concatenate
    Convert Copy Correct Count Create Date Decode Define Delete Describe Digest Divide Do Download Draw Drop Elect
    Embed Enter Estimate Evaluate Exclude Exit Export Extract Fetch Find Finish Flush Follow Forget Format Free Generate
    Give
    Grant Hold Identify Implement Import Index Insert Interpolate Join Keep Label Leave Let Lift Limit List Load
    Lock Log Look Make Map Mark Measure Merge Move Multiply Name Negate Normalise Open Parse Pass Pause Perform Pool
    Predict Prefix Prepare Prepend Print Provide Prune Publish Pull Put Queue Raise Read Reallocate Rebuild Receive
    Record Redirect Refer Refuse Register Release Remember Remove Rename Repair Replace Report Represent Require
    Reserve Reset Resize Resolve Restore Return Revoke Rewind Rewrite Run Save Say Score Search Send Serve Set Share
    Show Sign Speak Split Stand Start Stop Store Sync Tag Take Tell Test Tie Tokenize Train Translate Turn Use Verify
    Wait Warn Withdraw Wrap Write Yield
    """,
    )
)  # a new verb is welcome; "What", "The" and "Whether" are not


def misbegun(source: str) -> Iterator[str]:
    """Yield the functions and classes whose docstring begins with another word."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        words = re.findall(r"[\w'-]+", ast.get_docstring(node) or "Say")
        if words[0] not in VERBS:
            yield f"{node.lineno} {node.name}: {words[0]}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_docstring_begins_with_a_verb(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    found = [f"{path.relative_to(ROOT)}:{slip}" for path in paths for slip in misbegun(path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("first", ["What a name is.", "The name.", "Whether it is.", "Names of things.", "Returns it."])
def test_another_beginning_is_seen(first: str) -> None:
    assert list(misbegun(f'async def name():\n    """{first}"""\n')) == [f"1 name: {first.split()[0]}"]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_docstrings_name_errors_and_give_shapes(package: str) -> None:
    slips = []
    for path in sorted((ROOT / package).rglob("*.py")):
        command = path.parent.name == "cli"  # its docstring is what --help prints; click's errors are its exit codes
        for function in docstrings.public_functions(path.read_text("utf-8")):
            where = f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
            if not command and (names := docstrings.unnamed_errors(function)):
                slips.append(f"{where} raises {', '.join(names)}")
            if docstrings.lacks_shape(function):
                slips.append(f"{where} gives no shape")
    assert not slips, "\n".join(slips)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ('"""Do it. Raises KeyError."""\n    raise KeyError(x)', []),
        ('"""Do it."""\n    raise KeyError(x)', ["KeyError"]),
        ('"""Do it."""\n    raise errors.BadRecipe(x) from None', ["BadRecipe"]),
        ('"""Do it."""\n    try:\n        raise KeyError\n    except (KeyError, OSError):\n        return 1', []),
        (
            '"""Do it."""\n    try:\n        go()\n    except OSError:\n        raise BadRecipe',
            ["BadRecipe"],
        ),
        ('"""Do it."""\n    def inner():\n        raise KeyError\n    return inner', []),
    ],
)
def test_an_error_that_is_not_named_is_seen(body: str, errors: list[str]) -> None:
    [function] = docstrings.public_functions(f"def name(x):\n    {body}\n")
    assert docstrings.unnamed_errors(function) == errors


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ('def name(x: torch.Tensor) -> int:\n    """Count them."""', True),
        ('def name() -> np.ndarray | None:\n    """Return them."""', True),
        ('def name(x: Tensor) -> Tensor:\n    """Return (rows, labels)."""', False),
        ('def name(x: Tensor) -> Tensor:\n    """Return the sum, a scalar."""', False),
        ('def name(x: Mapping[str, Tensor]) -> int:\n    """Count them."""', False),
        ('def name(x: int) -> int:\n    """Count them."""', False),
    ],
)
def test_an_array_without_a_shape_is_seen(line: str, lacking: bool) -> None:
    [function] = docstrings.public_functions(line)
    assert docstrings.lacks_shape(function) is lacking
