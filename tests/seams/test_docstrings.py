"""Test that the docstring of every function and class begins with a verb; ruff holds the rest of its form."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("adapterhub_fin", "plugins/adapterhub_fin_plugins", "registry/adapterhub_fin_registry")
VERBS = frozenset(
    re.findall(
        r"\w+",
        """
    Accept Accumulate Activate Add Advance Allocate Answer Append Apply Ask Assign Attach Begin Bound Bring Build
    Cache Call Carry Change Check Choose Classify Close Collect Commit Compare Compile Complete Compute Concatenate
    Convert Copy Correct Count Create Date Decode Define Delete Describe Digest Divide Do Download Draw Drop Elect
    Embed Enter Estimate Evaluate Exclude Exit Export Extract Find Finish Flush Forget Format Free Generate Give
    Grant Hold Identify Implement Import Index Insert Interpolate Join Keep Label Leave Let Lift Limit List Load
    Lock Log Look Make Map Mark Measure Merge Move Multiply Name Negate Normalise Open Parse Pass Pause Perform Pool
    Predict Prefix Prepare Prepend Print Provide Prune Publish Pull Put Queue Raise Read Reallocate Rebuild Receive
    Record Redirect Refer Refuse Register Release Remember Remove Rename Repair Replace Report Represent Require
    Reserve Reset Resize Resolve Restore Return Revoke Rewind Rewrite Run Save Say Search Send Serve Set Share Show
    Sign Speak Split Stand Start Stop Store Sync Tag Take Tell Test Tie Tokenize Train Translate Turn Use Verify
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
    assert len(paths) > 40
    found = [f"{path.relative_to(ROOT)}:{slip}" for path in paths for slip in misbegun(path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("first", ["What a name is.", "The name.", "Whether it is.", "Names of things.", "Returns it."])
def test_another_beginning_is_seen(first: str) -> None:
    assert list(misbegun(f'async def name():\n    """{first}"""\n')) == [f"1 name: {first.split()[0]}"]
