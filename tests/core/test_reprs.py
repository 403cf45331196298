"""In a notebook objects are tables, and no repr of a public object prints pages; what others wrote is escaped."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_registry.io.html_table import html_table
from adapterhub_fin_registry.model.version_rows import VersionRows

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.run import Run

MOST = 700  # characters of a repr


class Table(HTMLParser):
    """Return the cells of a page's tables, whose tags are all closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(page)
        assert not self.open and self.cells

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "p"}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


@pytest.fixture
def objects(trained: Run) -> dict[str, Any]:
    registry = ahf.Registry(trained.version.folder.parents[4])
    return {
        "version": trained.version,
        "manifest": trained.version.manifest,
        "adapter": trained.adapter,
        "run": trained,
        "registry": registry,
        "rows": registry.rows(),
        "page": registry.search(),
    }


@pytest.mark.parametrize("name", ["version", "manifest", "adapter", "run", "registry", "rows", "page"])
def test_each_is_a_line_and_in_a_notebook_a_table(objects: dict[str, Any], name: str) -> None:
    shown = objects[name]
    assert len(repr(shown)) < MOST and len(str(shown)) < MOST and "\n" not in repr(shown)
    assert " object at 0x" not in repr(shown)
    page = shown._repr_html_()
    assert len(page) < 5_000
    cells = " ".join(Table(page).cells)
    assert "lora" in cells and ("acme/tone@1" in cells or name == "manifest")


def test_what_comes_before_and_after_a_run_is_a_table(trained: Run, encoder: Path, tmp_path: Path) -> None:
    registry = ahf.Registry(trained.version.folder.parents[4])
    recipe = {**dict(trained.version.manifest.recipe or {}), "base": {"id": "acme/tiny", "path": str(encoder)}}
    schedule: Any = {"windows": "yearly", "start": "2017-01-01"}
    corpus: Any = {"name": tiny_corpus()}
    keys: Any = {"corpus": corpus, "schedule": schedule, "training": {"max_length": 32}}
    series = ahf.preview_series(name="acme/walk", base=recipe["base"], **keys)
    merge = ahf.merge(["acme/tone@1", "acme/tone@1"], dry_run=True, registry=registry)
    plan: Any = ahf.plan(recipe)
    comparison = ahf.diff("acme/tone@1", "acme/tone@1", registry=registry)
    shown = {
        "label positive": ahf.preview(recipe),
        "to be trained": series,
        "weight 0.5": merge,
        "of which 3,939 are trained": plan,
        "0 fields and 0 tensors differ": comparison,
    }
    for words, thing in shown.items():
        assert len(repr(thing)) < MOST and " object at 0x" not in repr(thing) and "\n" not in repr(thing)
        assert words in " ".join(Table(thing._repr_html_()).cells)
    assert isinstance(series, list) and len(Table(series._repr_html_()).cells) == 1 + 7 + 7 * len(series)


def test_a_report_shows_its_pictures_and_what_it_lacks(trained: Run, tmp_path: Path) -> None:
    report = trained.report(tmp_path / "it's <here>")
    page = report._repr_html_()
    assert page.count("<img alt=") == len(report.pictures) >= 5 and "<here>" not in page
    assert all(base64.b64encode(path.read_bytes()).decode() in page for path in report.pictures)
    assert len(repr(report)) < MOST and "report.html" in repr(report)
    report.pictures[0].unlink()
    assert report._repr_html_().count("<img") == len(report.pictures) - 1
    lacking = replace(report, missing={"Score over time": "the rows have no column available_at"})
    assert "no score over time" in lacking._repr_html_() and "without Score over time" in repr(lacking)


def test_parts_of_a_manifest_print_no_pages(trained: Run) -> None:
    manifest = trained.version.manifest
    assert len(manifest.model_dump_json()) > 5_000  # which is what a repr used to print
    for part in (manifest.base, manifest.head, manifest.corpus, manifest.knowledge, manifest.method):
        assert len(repr(part)) < 1_500


def test_a_chain_shows_its_registries(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHF_HOME", str(trained.version.folder.parents[4]))
    chain = ahf.RegistryChain.configured()
    assert repr(chain).startswith("RegistryChain(Registry('") and "acme/tone@1" in chain._repr_html_()


def test_rows_are_still_a_list(objects: dict[str, Any]) -> None:
    rows = objects["rows"]
    assert rows == list(rows) and json.loads(json.dumps(rows)) == list(rows) and isinstance(rows, list)
    many = VersionRows({**rows[0], "version": number} for number in range(1, 1001))
    assert len(repr(many)) < 200 and repr(many).startswith("<1,000 versions: acme/tone@1, ")
    assert len(many._repr_html_()) < 60_000 and "50 of 1,000 rows" in many._repr_html_()


def test_what_others_wrote_is_shown_and_never_run() -> None:
    hostile = "<script>alert('x')</script>"
    page = html_table(hostile, [(hostile, {"k": [hostile]}, 0.123456, None, "x" * 9999)], (hostile, "b", "c", "d", "e"))
    cells = Table(page).cells
    assert cells.count(hostile) == 3 and "0.1235" in cells and max(map(len, cells)) == 200
    assert "<script" not in page and "'x'" not in page
