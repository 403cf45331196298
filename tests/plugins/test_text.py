"""Documents of one's own: one row each, HTML without what no reader sees, dates from a table or an error."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.testing import CorpusContract
from adapterhub_fin_plugins.corpora.options import TextOptions
from adapterhub_fin_plugins.corpora.text import Text, plain_text

FILING = """<?xml version='1.0' encoding='ASCII'?>
<html xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"><head><title>acme-20240928</title>
<style>td {color: red}</style></head><body><!-- made by a tool -->
<div style="display:none"><ix:header><ix:hidden><ix:nonNumeric name="dei:Amendment">false</ix:nonNumeric></ix:hidden>
<ix:resources><xbrli:context><xbrli:identifier>0000320193</xbrli:identifier></xbrli:context></ix:resources></ix:header>
</div>
<div><span>U</span><span>NITED
   STATES</span>&nbsp;&amp; more</div>
<p>Net sales<br/>rose</p><script>if (a < b) { alert("x") }</script>
<table><tr><td>Sales</td><td>$</td><td><ix:nonFraction name="us-gaap:Sales">391,035</ix:nonFraction></td></tr>
<tr><td>Cost</td><td></td><td>210,352</td></tr></table>
</body></html>
"""


def load(path: Path, **options: Any) -> Any:
    return Text(TextOptions(path=path, **options)).load()


class TestText(CorpusContract):
    name = "text"
    head = "wants-text-alone"

    def options_for(self, folder: Path) -> dict[str, Any]:
        documents = folder / "documents"
        documents.mkdir(exist_ok=True)
        lines = ["file,available_at"]
        for i in range(24):
            name = f"{i:02}.{('txt', 'md', 'html')[i % 3]}"
            (documents / name).write_text(f"<p>Minutes of meeting {i}.", encoding="utf-8")
            lines.append(f"{name},2020-02-{i + 1:02}")
        (folder / "dates.csv").write_text("\n".join(lines), encoding="utf-8")
        return {"path": str(documents), "dates": str(folder / "dates.csv"), "timezone": "America/New_York"}


def test_a_filing_is_read_as_its_reader_sees_it() -> None:
    assert plain_text(FILING, "acme.html") == (
        "UNITED STATES & more\nNet sales\nrose\nSales $ 391,035\nCost 210,352"
    )  # fmt: skip


@pytest.mark.parametrize("tag", ["ix:header", "script", "style"])
def test_what_is_hidden_and_never_closed_would_swallow_the_page(tag: str) -> None:
    with pytest.raises(ahf.BadCorpus, match=f"acme.html never closes its <{tag}>"):
        plain_text(f"<p>Sales</p><{tag}><p>rose</p>", "acme.html")


def test_documents_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, text in {"b/2.txt": " Two. ", "a.md": "# One", "b/10.HTM": "<p>Ten", "b/prices.csv": "1"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows = load(tmp_path)
    assert list(rows.table["group"]) == list(rows.table["origin"]) == ["a.md", "b/10.HTM", "b/2.txt"]
    assert list(rows.table["text"]) == ["# One", "Ten", "Two."]
    assert dict(rows.notes) == {"repeated": 0, "other files": 1}
    assert "available_at" not in rows.table.column_names
    assert list(load(tmp_path, glob="b/*.txt").table["group"]) == ["b/2.txt"]


def test_one_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "minutes.txt").write_text("Rates were kept.", encoding="utf-8")
    assert list(load(tmp_path / "minutes.txt").table["group"]) == ["minutes.txt"]


def test_a_date_is_the_end_of_its_day(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("Rates were kept.", encoding="utf-8")
    dates = tmp_path / "dates.csv"
    dates.write_text("file,available_at\nother.txt,2020-01-01\nm.txt,2020-02-19 14:00\n", encoding="utf-8")
    (found,) = load(tmp_path, dates=dates, timezone="America/New_York").table["available_at"]
    assert found.isoformat() == "2020-02-19T19:00:00+00:00"


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({"a.txt": b"Up.", "b.txt": b" \n"}, {}, "b.txt has no text"),
        ({"a.html": b"<html><style>p {}</style></html>"}, {}, "a.html has no text"),
        ({"a.txt": b"Up.\nDown \xe9.\n"}, {}, "a.txt, line 2 is not UTF-8"),
        ({"a.pdf": b"%PDF"}, {}, "has no .txt, .md, .html, .htm file that matches **/*"),
        ({"a.txt": b"Up."}, {"glob": "*.md"}, "has no .txt, .md, .html, .htm file that matches *.md"),
    ],
)
def test_what_is_no_document_is_named(
    tmp_path: Path, files: dict[str, bytes], options: dict[str, Any], said: str
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ahf.BadCorpus) as caught:
        load(tmp_path, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("a.txt,2020-01-01", "dates.csv gives no date for b.txt (1 of 2 documents)"),
        ("a.txt,2020-01-01\nb.txt,soon", "dates.csv, line 3: available_at: 'soon' isn't a date"),
        ("a.txt,2020-01-01\na.txt,2020-01-02\nb.txt,2020-01-01", "dates.csv, line 3 dates a.txt twice"),
        (",2020-01-01", "dates.csv, line 2: file is missing"),
    ],
)
def test_a_document_without_a_date_is_an_error_where_dates_are_given(tmp_path: Path, lines: str, said: str) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("Up.", encoding="utf-8")
    (tmp_path / "dates.csv").write_text(f"file,available_at\n{lines}\n", encoding="utf-8")
    with pytest.raises(ahf.BadCorpus) as caught:
        load(tmp_path, dates=tmp_path / "dates.csv", timezone="UTC")
    assert said in str(caught.value)


def test_a_copy_under_another_name_counts_once_as_it_was_first_available(tmp_path: Path) -> None:
    for name, text in {"a.txt": "Kept.", "b.txt": "Raised.", "c.txt": " Kept."}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows = load(tmp_path)
    assert list(rows.table["group"]) == ["a.txt", "b.txt"] and rows.notes["repeated"] == 1
    dates = tmp_path / "dates.csv"
    dates.write_text("file,available_at\na.txt,2020-03-01\nb.txt,2020-02-01\nc.txt,2020-01-01\n", encoding="utf-8")
    assert list(load(tmp_path, dates=dates, timezone="UTC").table["group"]) == ["b.txt", "c.txt"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ahf.BadCorpus, match="none does not exist"):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"glob": "../*"}, "stays within it"),
        ({"glob": "/etc/*"}, "stays within it"),
        ({"glob": ""}, "stays within it"),
        ({"timezone": "UTC"}, "timezone UTC is for dates, and there are none"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ahf.BadRecipe) as caught:
        extensions().options(Corpus, "text", {"path": "documents", **options})
    assert said in str(caught.value)


def test_a_stated_end_dates_documents_and_rows_without_dates(tmp_path: Path) -> None:
    (tmp_path / "smith.txt").write_text("Of the division of labour.")
    (tmp_path / "rows.csv").write_text("text,when\nCorn is dear.,1776-03-09\n")
    stated = {"knowledge_end": date(1776, 12, 31), "evidence": "the title page"}
    for name, file in (("text", "smith.txt"), ("table", "rows.csv")):
        known = build_contribution(Corpus, name, {"path": tmp_path / file, **stated}).load().known
        assert known == KnownAt(datetime(1777, 1, 1, 11, 59, 59, 999999, tzinfo=UTC), "asserted", "the title page")
    for name, options, reason in (
        ("text", {"knowledge_end": "1776-12-31"}, "go together"),
        ("text", {**stated, "knowledge_end": "in 1776"}, "is no date"),
        ("text", {**stated, "dates": tmp_path / "rows.csv"}, "have their own"),
        ("table", {**stated, "available_at": "when"}, "have their own"),
    ):
        with pytest.raises(BadRecipe, match=reason):
            build_contribution(Corpus, name, {"path": tmp_path / "rows.csv", **options})
