"""A test run that warns hundreds of times fails, so that the warnings stay few enough to be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.parametrize(("count", "code"), [(3, 1), (2, 0)])
def test_a_run_with_more_warnings_than_allowed_fails(tmp_path: Path, count: int, code: int) -> None:
    hook = CONFTEST.read_text().split("MOST_WARNINGS = ")[1].split("SHARED")[0].split("\n", 1)[1]
    (tmp_path / "conftest.py").write_text(
        f"import gc\nfrom typing import Any\nimport pytest\nMOST_WARNINGS = 2\n{hook}"
    )
    body = "\n".join(f"    warnings.warn('number {number}')" for number in range(count))
    (tmp_path / "test_it.py").write_text(f"import warnings\n\ndef test_it():\n{body}\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == code, ran.stdout
    assert ("3 warnings, and 2 are allowed" in ran.stdout) == (code == 1)
