"""What a card says is true, is taken by the Hub's own parser, and can't be turned against its reader."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from transformers import AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin_registry.model.manifest import MeasuredOn, Selection
from adapterhub_fin_registry.model.model_card import card

TEXTS = ["Arlo: profit rose.", "Brent: profit fell."]
Make = Callable[..., ahf.Manifest]
NASTY = (
    "x\n---\n# Injected\n[click](https://evil.example) <script>alert(1)</script> | `a` ![i](http://evil.example/i.png) "
    "www.evil.example @all {{jinja}} \u202e\x1b[31m <!-- "
)


def python_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


def test_the_hub_takes_its_metadata(at_hub: Any, trained: Run) -> None:
    text = card(trained.version.manifest, "acme/tone")
    at_hub.api()._validate_yaml(text)  # as the client does before it commits a README.md
    data = ModelCard(text).data
    assert (data.library_name, data.base_model, data.base_model_relation) == ("peft", "acme/tiny", "adapter")
    assert data.pipeline_tag == "text-classification" and {"lora", "adapterhub_fin"} <= set(data.tags)
    [*results] = data.eval_results
    assert {r.metric_type: r.metric_value for r in results} == dict(trained.version.manifest.metrics)
    assert {r.dataset_split for r in results} == {"test"} and data.model_name == "acme/tone"
    assert data.to_dict().get("language") is None, "nobody knows it"


@pytest.mark.parametrize(("corpus", "data_sets"), [
    ({"name": "hub", "options": {"id": "acme/news", "column": "text"}}, ["acme/news"]),
    ({"name": "acme/news"}, ["acme/news"]),
    ({"name": "phrasebank"}, None),  # no data set of a Hub
    ({"name": "hub", "options": {"id": "acme/news\ntags: [x]"}}, None),
    (None, None),
])  # fmt: skip
def test_the_data_sets_are_those_of_a_hub(
    corpus: dict[str, Any] | None, data_sets: list[str] | None, make_manifest: Make, at_hub: Any
) -> None:
    text = card(make_manifest(corpus=corpus), "acme/tone")
    at_hub.api()._validate_yaml(text)
    assert ModelCard(text).data.datasets == data_sets
    assert yaml.safe_load(text.split("---\n")[1]).get("datasets") == data_sets


@pytest.mark.parametrize(("license", "license_", "name"), [
    ("Apache-2.0", "apache-2.0", None), ("Desk-1.0", "other", "Desk-1.0"), (None, None, None)
])  # fmt: skip
def test_licenses_are_those_that_a_hub_knows(
    license: str | None, license_: str | None, name: str | None, make_manifest: Make
) -> None:
    data = ModelCard(card(make_manifest(license=license), "acme/tone")).data
    assert (data.license, data.license_name) == (license_, name)


def test_people_read_what_is_known(trained: Run) -> None:
    manifest = trained.version.manifest
    evaluation = {
        "kind": "evaluation", "corpus": "later", "split": "all", "metrics": {"accuracy": 0.5}, "rows": 40,
        "intervals": {"accuracy": [0.41, 0.59]}, "bootstrap": {"level": 0.95}, "seen_in_training": True,
    }  # fmt: skip
    text = card(manifest, "acme/tone", [evaluation, {"kind": "tag", "tag": "x"}])
    for said in (manifest.digest, manifest.knowledge.end, "0.4100 to 0.5900 (95%)", "| all (seen) |", "num\\_labels"):
        assert said.replace("num\\_labels", "num_labels=3") in text
    assert manifest.corpus is not None and manifest.corpus.available is not None
    assert manifest.corpus.available[1] in text and f"{manifest.corpus.rows['train']} train" in text
    for entry in manifest.knowledge.inputs:
        assert entry.at in text and entry.kind in text
    assert "Which base" not in text, "its base is pinned"


def test_a_version_that_a_sweep_chose_says_among_how_many(trained: Run) -> None:
    chosen = Selection(tried=40, search="grid", over=("method.rank",), metric="accuracy", score=0.84, seeds=5)
    text = card(trained.version.manifest.model_copy(update={"selection": chosen}), "acme/tone")
    assert "best of 40, by grid over method.rank. Its own metrics are tested once, chosen among 40." in text
    assert "best of" not in card(trained.version.manifest, "acme/tone")


def test_what_is_not_known_is_said(make_manifest: Make) -> None:
    text = card(make_manifest(), "acme/tone")
    for said in ("Nothing is recorded of it", "Nothing was measured", "declared and not verified", "No license"):
        assert said in text


def test_a_hostile_manifest_is_text_and_nothing_else(make_manifest: Make, at_hub: Any) -> None:
    manifest = make_manifest(
        description=NASTY, license=NASTY, tags=(NASTY, "---"), metrics={NASTY: 0.5},
        head={"name": NASTY, "labels": [NASTY, "b"]},
        method={"name": NASTY, "provider": {"distribution": NASTY, "version": "1"}},
        corpus={"name": NASTY, "rows": {NASTY: 1}, "license": NASTY}, measured_on=MeasuredOn(split=NASTY, rows=1),
        knowledge={
            "inputs": [{"input": "base", "at": "2020-01-01T00:00:00Z", "kind": "asserted", "evidence": NASTY}],
            "end": "2020-01-01T00:00:00Z",
        },
    )  # fmt: skip
    event = {"kind": "evaluation", "corpus": NASTY, "split": NASTY, "metrics": {NASTY: 1.0}, "intervals": NASTY}
    text = card(manifest, "acme/tone", [{**event, "rows": NASTY}])
    at_hub.api()._validate_yaml(text)
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "peft" and "\x1b" not in text and "\u202e" not in text
    for part in (re.sub(r"\\.", "", line) for line in body.splitlines() if line not in ("```python", "```")):
        bare = re.sub(r"`[^`]*`", "", part)
        assert "<" not in bare and "](http" not in bare.replace("](https://huggingface.co/acme/base)", ""), part
        assert "www." not in bare and "://" not in bare.replace("https://huggingface.co/", "").replace("hf://", ""), (
            part
        )
    assert [line for line in body.splitlines() if line.startswith("#")] == [
        "# acme/tone", "## Load it", "## Training data", "## Knowledge end", "## Evaluation", "## Limits"
    ]  # fmt: skip
    tables = [line for line in body.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {5, 7}
    for block in python_of(body):
        compile(block, "card", "exec")
        assert "evil" not in block


def test_its_lines_of_code_run(
    at_hub: Any, name: str, trained: Run, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ours, and plain PEFT's, as a reader would paste them, with the base in the client's cache."""
    ahf.publish("acme/tone@1", f"hf://{name}", registry=ahf.Registry(trained.version.folder.parents[4]))
    text = Path(at_hub.api().hf_hub_download(name, "README.md")).read_text()
    ours, plain = python_of(text)
    bases.remember(fingerprint_key(trained.version.manifest.base), encoder)
    exec(compile(ours, "card", "exec"), said := {})
    assert "Prediction(" in capsys.readouterr().out and said["adapter"].version.digest == trained.version.digest
    repository = Path(constants.HF_HUB_CACHE) / "models--acme--tiny"
    shutil.copytree(encoder, repository / "snapshots" / ("1" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    at_hub.api().snapshot_download(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the base is in the cache alone
    exec(compile(plain, "card", "exec"), said)
    batch = AutoTokenizer.from_pretrained(encoder)(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = said["model"].eval()(**batch).logits
    torch.testing.assert_close(logits, trained.adapter.logits(TEXTS), rtol=0, atol=1e-6)
