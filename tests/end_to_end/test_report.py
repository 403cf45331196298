"""A report is one page that needs nothing beside it, and says of each part that it lacks why."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import remember
from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin.testing.bench import Bench

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.run import Run


def run_ahf(*arguments: str) -> Any:
    """Run one command in this process."""
    from click.testing import CliRunner

    from adapterhub_fin.cli import group

    return CliRunner().invoke(group, list(arguments))


CLASSES = ["training.png", "confusion.png", "classes.png", "calibration.png", "length.png", "time.png"]
UNMEASURED = {"Baseline"}  # runs of tests measure none


class Page(HTMLParser):
    """The tags of a page and its text, and whether every tag is closed."""

    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in self.void else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_run_is_reported_whole_and_the_same_each_time(trained: Run, tmp_path: Path) -> None:
    report = trained.report(tmp_path / "one")
    assert [path.name for path in report.pictures] == CLASSES and set(report.missing) == UNMEASURED
    page = Page(report.page)
    pictures = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert [base64.b64decode(src.removeprefix("data:image/png;base64,")) for src in pictures] == [
        path.read_bytes() for path in report.pictures
    ]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags for value in attrs.values() if re.match("(https?:)?//", str(value))]
    manifest = trained.version.manifest
    for told in (trained.version.digest, str(manifest.knowledge.end), f"{trained.metrics['accuracy']:.4f}", "ECE"):
        assert told in page.text
    for told in ("training.max_length", "stratified", "seed of training", "torch", "Labels by part", "neutral"):
        assert told in page.text
    again = trained.report(tmp_path / "two")
    for path in (report.page, *report.pictures):
        assert (again.page.parent / path.name).read_bytes() == path.read_bytes()


def test_the_errors_are_the_wrong_answers_the_surest_first(trained: Run, tmp_path: Path) -> None:
    from adapterhub_fin.reporting.answers import collect_answers
    from adapterhub_fin.testing.tiny import TinyTone

    table = TinyTone(None).load().table
    answers = collect_answers(trained.adapter, table, "tiny", "all", 7)
    given = trained.adapter.predict(table["text"][:], batch_size=5)
    assert list(answers.given) == [each.label for each in given]  # one answer a row, in the order of the rows
    assert list(answers.confidence) == pytest.approx([each.score for each in given], rel=1e-5)
    worst = answers.worst(1000)
    assert {answers.texts[row] for row in worst} == {
        row["text"] for row, each in zip(table, given, strict=True) if row["label"] != each.label
    }
    sure = [answers.confidence[row] for row in worst]
    assert sure == sorted(sure, reverse=True)


@pytest.mark.parametrize(
    ("head", "pictures", "missing"),
    [
        ("regress", ["training.png", "residuals.png", "length.png", "time.png"], {"Confusion matrix", "Calibration"}),
        ("causal-lm", ["training.png", "length.png", "time.png"], {"Confusion matrix", "Calibration"}),
    ],
)
def test_other_heads_have_their_own_pictures(tmp_path: Path, head: str, pictures: list[str], missing: set[str]) -> None:
    kind: Any = "decoder" if head == "causal-lm" else "encoder"
    bench = Bench(tmp_path, kind, {"name": "lora", "rank": 4}, {"name": head})
    report = bench.train("run", epochs=1).report(tmp_path / "report")
    assert [path.name for path in report.pictures] == pictures and set(report.missing) == missing | UNMEASURED
    Page(report.page)


def test_what_is_missing_is_named_with_its_reason(trained: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(trained.version.folder.parents[4], tmp_path / "copy")
    registry = ahf.Registry(copy)
    registry.doctor(repair=True)
    version = registry.resolve("acme/tone@1")
    shutil.rmtree(version.folder / "events")
    report = ahf.report(version, registry=registry, into=tmp_path / "report", base=tmp_path / "nowhere")
    assert set(report.missing) == {"Training curves", "Answers"} | UNMEASURED and not report.pictures
    text = Page(report.page).text
    assert "no history of its training is stored" in text and "nowhere" in report.missing["Answers"]
    report = ahf.report(version, {"name": "table", "path": "gone.csv", "label": "label"}, registry=registry, into=copy)
    assert "gone.csv" in report.missing["Answers"] and "gone.csv" in report.missing["Labels by part"]


class Hostile(CorpusImplementation):
    """Rows of texts that would be markup, and labels that would be formulas."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        from datasets import Dataset

        texts = ["<script>alert(1)</script>", "&amp; <b>rose", 'x" onload="y', "{{ 7 * 7 }}", "長い文 \U0001f680"]
        rows = [{"text": f"{texts[i % 5]} {i}", "label": ("$up_$", "<i>down")[i % 2]} for i in range(60)]
        return Rows(Dataset.from_list(rows))


class Otherwise(CorpusImplementation):
    """Rows for heads that give no class, no number and no likelihood."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        from datasets import Dataset

        rows = []
        for i in range(60):
            text = f"Firm {i}: profit {('rose', 'fell')[i % 2]}"
            labels = [name for bit, name in enumerate("ab") if i >> bit & 1]
            pair = {
                "anchor": text,
                "positive": f"Firm {i} reports",
                "prompt": text,
                "chosen": " today",
                "rejected": " no",
            }
            rows.append({"text": text, "label": labels, **pair})
        return Rows(Dataset.from_list(rows))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("multi-label", "answers with LabelSet, for which the report has no picture"),
        ("contrastive", "compares texts, and gives no answer to a single row"),
        ("preference", "compares texts, and gives no answer to a single row"),
    ],
)
def test_heads_without_pictures_have_curves_and_the_reason(tmp_path: Path, head: str, reason: str) -> None:
    ahf.register(
        Corpus(name="otherwise", summary="Rows.", target=f"{__name__}:Otherwise", license="CC0-1.0", source="x")
    )
    kind: Any = "decoder" if head == "preference" else "encoder"
    bench = Bench(tmp_path, kind, {"name": "lora", "rank": 4}, {"name": head}, {"name": "otherwise"})
    report = bench.train("run", epochs=1).report(tmp_path / "report")
    assert [path.name for path in report.pictures] == ["training.png"]
    assert set(report.missing) == {"Answers"} | UNMEASURED and reason in report.missing["Answers"]


def test_texts_and_labels_are_shown_and_never_run(tmp_path: Path) -> None:
    ahf.register(
        Corpus(name="hostile", summary="Hostile rows.", target=f"{__name__}:Hostile", license="CC0-1.0", source="none")
    )
    sys.modules.setdefault(__name__, sys.modules[__name__])
    bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"}, {"name": "hostile"})
    report = bench.train("run", epochs=1, learning_rate=1e-6).report(tmp_path / "report")
    page = Page(report.page)
    assert not {"script", "b", "i"} & {tag for tag, _ in page.tags} and not any("onload" in a for _, a in page.tags)
    assert "<i>down" in page.text and "<script>alert(1)</script>" in page.text and "{{ 7 * 7 }}" in page.text
    assert report.missing["Score over time"] == "the rows have no column available_at"


def test_without_the_extra_one_error_names_the_command(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterhub_fin.reporting import report as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ahf.BadConfiguration, match=r"pip install 'adapterhub-fin\[report\]'"):
        trained.report("never")
    assert not Path("never").exists()


def test_the_command_writes_the_page_and_says_what_is_missing(
    trained: Run, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHF_HOME", str(trained.version.folder.parents[4]))
    monkeypatch.chdir(tmp_path)
    remember(fingerprint_key(trained.version.manifest.base), encoder)
    done = run_ahf("report", "acme/tone", "--json")
    assert done.exit_code == 0 and set(json.loads(done.stdout)["missing"]) == UNMEASURED
    assert sorted(path.name for path in Path("report-acme-tone-1").iterdir()) == sorted([*CLASSES, "report.html"])
    done = run_ahf("report", "acme/tone", "table", "--set", "path=gone.csv", "--set", "label=y", "--into", "other")
    assert done.exit_code == 0 and done.stdout == "other/report.html\n"
    assert "left out: Answers, since" in done.stderr and "gone.csv" in done.stderr


def test_misuse_is_one_sentence(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ahf.WriteFailed, match="can't be written to .*file .*give another folder"):
        trained.report(tmp_path / "file")
    with pytest.raises(ahf.BadRecipe, match="no split 'tset': choose train"):
        trained.report(tmp_path / "never", split="tset")
    with pytest.raises(ahf.NotFound):
        ahf.report("acme/nothing", into=tmp_path / "never")
    assert not (tmp_path / "never").exists()
