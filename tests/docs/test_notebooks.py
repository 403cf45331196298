"""The notebooks in examples/: stored without outputs, and executed by a real kernel on a tiny base, without noise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.ipynb"))
NOISE = re.compile("Warning|site-packages|deprecat|pip install|Failed to|https?:", re.IGNORECASE)
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


def cells(path: Path, kind: str) -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


@each
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None and cell.metadata == {}, "clear all outputs"
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"} and notebook.metadata.kernelspec.name == "python3"


@each
def test_a_notebook_is_short_takes_a_base_and_says_where_to_go_next(path: Path) -> None:
    prose, code = cells(path, "markdown"), cells(path, "code")
    assert 8 <= len(prose) + len(code) <= 15
    assert 'os.environ.get("AHF_EXAMPLE_BASE", ' in code[0].source and '["AHF_HOME"]' in code[0].source
    assert max(len(line) for cell in code for line in cell.source.splitlines()) <= 100, "a cell shows no more"
    assert prose[-1].source.startswith("## Where to go next\n") and "docs/" in prose[-1].source
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", "\n".join(cell.source for cell in prose)):
        assert (path.parent / link).exists(), link


@pytest.fixture
def kernel_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the kernel works and writes; it reads no settings of the user's."""
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    return tmp_path


@each
@pytest.mark.timeout(300)
def test_a_notebook_runs_and_shows_no_noise(
    path: Path, encoder: Path, kernel_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (("AHF_EXAMPLE_BASE", str(encoder)), ("HF_HUB_OFFLINE", "1"), ("OMP_NUM_THREADS", "1")):
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": kernel_folder}}
    client = NotebookClient(notebook, kernel_name="python3", resources=resources)
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    streams = [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    lines = [line for output in streams for line in output.text.splitlines()]
    assert not any(NOISE.search(line) for line in lines), lines
    shown = [output.data for output in outputs if output.output_type == "execute_result"]
    for data in shown:
        assert len(data["text/plain"]) < 2_000 and " object at 0x" not in data["text/plain"]
    assert sum("text/html" in data for data in shown) >= 3, "tables"
    lines = [output.data["text/plain"] for output in outputs if output.output_type == "display_data"]
    assert not any("\n" in line for line in lines), "progress is one line, which changes"
    assert any(re.search(r"step \d+ of \d+, loss [\d.]+, epoch \d", line) for line in lines), lines
