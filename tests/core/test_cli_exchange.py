"""Run the commands that compare, import and export versions."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run

Ahf = Callable[..., tuple[int, str, str]]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def child(stocked: Path, trained: Run, tmp_path: Path) -> str:
    """acme/child@1: acme/tone@1 with one tensor moved, and acme/tone as its parent."""
    folder = tmp_path / "child"
    shutil.copytree(trained.version.files, folder)
    tensors = load_file(folder / WEIGHTS)
    first = sorted(tensors)[0]
    tensors[first] = tensors[first] + 0.25
    save_file(tensors, folder / WEIGHTS)
    parent = {"digest": trained.version.digest, "name": "acme/tone", "role": "continued", "weight": None}
    manifest = {**json.loads(trained.version.manifest_bytes), "files": [], "tensors": [], "parents": [parent]}
    ahf.Registry().add(folder, ahf.Manifest.model_validate(manifest), name="acme/child")
    return first


def test_diff_names_fields_and_tensors(run_ahf: Ahf, child: str) -> None:
    code, out, err = run_ahf("diff", "acme/tone", "acme/child")
    assert (code, err) == (0, "") and child in out and "0.25" in out and "1 tensors differ" in out
    assert run_ahf("diff", "acme/tone", "acme/child", "--exit-code")[0] == 1
    code, out, _ = run_ahf("diff", "acme/tone", "acme/child", "--json")
    document = json.loads(out)
    assert code == 0 and document["same"] is False
    (tensor,) = document["tensors"]
    assert (tensor["name"], tensor["a"]["dtype"], tensor["not_finite"]) == (child, "F32", 0)
    assert tensor["max_abs"] == pytest.approx(0.25) and document["a"]["reference"] == "acme/tone@1"
    assert {each["field"].partition(".")[0] for each in document["fields"]} == {"files", "parents"}


def test_diff_of_one_version_with_itself(run_ahf: Ahf, stocked: Path) -> None:
    code, out, _ = run_ahf("diff", "acme/tone@1", "acme/tone", "--exit-code")
    assert code == 0 and "are the same" in out
    assert json.loads(run_ahf("diff", "acme/tone", "acme/tone", "--json")[1])["same"] is True
    assert run_ahf("diff", "acme/tone", "acme/none")[0] == 1


def test_show_draws_the_lineage(run_ahf: Ahf, child: str, trained: Run) -> None:
    code, out, _ = run_ahf("show", "acme/child", "--lineage")
    assert code == 0 and "came from" in out and "acme/tone@1  (continued)" in out and "led to nothing" in out
    assert "acme/child@1" in run_ahf("show", "acme/tone", "--lineage")[1]
    dated = ["show", "acme/child", "--lineage", "--as-of", "now", "--ignore-base"]
    assert (
        "without the base" in run_ahf(*dated)[2] and json.loads(run_ahf(*dated, "--json")[1])["include_base"] is False
    )
    document = json.loads(run_ahf("show", "acme/child", "--lineage", "--json")[1])
    assert document["ancestors"][0]["digest"] == trained.version.digest
    assert document["ancestors"][0]["state"] == "here" and document["descendants"] == []


def test_lineage_shows_nothing_that_steers_a_terminal(
    run_ahf: Ahf, stocked: Path, trained: Run, tmp_path: Path
) -> None:
    parent = {"digest": "sha256:" + "ab" * 32, "name": "\x1b[2Jacme", "role": "[red]merge", "weight": 0.5}
    manifest = {**json.loads(trained.version.manifest_bytes), "parents": [parent]}
    ahf.Registry().add(trained.version.files, ahf.Manifest.model_validate(manifest), name="acme/hostile")
    out = run_ahf("show", "acme/hostile", "--lineage")[1]
    assert "\x1b" not in out and "[red]merge, weight 0.5" in out and "not in this registry" in out


def test_check_says_what_and_what_to_do(run_ahf: Ahf, stocked: Path, notes: Run) -> None:
    code, out, _ = run_ahf("check", "acme/notes", "--target", "vllm")
    assert code == 0 and "would serve acme/notes@1" in out and "unsure" in out
    code, out, _ = run_ahf("check", "acme/tone", "--target", "vllm")
    assert code == 1 and "modules_to_save" in out and "--without-head" in out
    code, out, _ = run_ahf("check", "acme/tone", "--target", "sglang", "--max-lora-rank", "2", "--json")
    document = json.loads(out)
    assert code == 1 and document["served"] is False
    assert {each["where"] for each in document["findings"]} >= {"r", "base_model.model.classifier.bias"}
    code, out, _ = run_ahf("check", "acme/tone", "--target", "onnx")
    assert code == 0 and out == "onnx would serve acme/tone@1 (checked against what is known of both)\n"
    code, out, _ = run_ahf("check", "acme/tone", "--target", "tei")
    assert code == 0 and "GELU" in out and "refused" not in out
    assert run_ahf("check", "acme/tone", "--target", "nothing")[0] == 2
    assert run_ahf("check", "acme/tone")[0] == 2


def test_export_and_its_refusals(run_ahf: Ahf, stocked: Path, tmp_path: Path) -> None:
    code, out, err = run_ahf("export", "acme/tone", str(tmp_path / "plain"))
    assert (code, err) == (0, "") and Path(out.strip()) == tmp_path / "plain"
    code, _, err = run_ahf("export", "acme/tone", str(tmp_path / "plain"))
    assert code == 1 and "exists already" in err and err.count("\n") == 1
    code, _, err = run_ahf("export", "acme/tone", str(tmp_path / "served"), "--layout", "vllm")
    assert code == 1 and "vLLM can't serve acme/tone@1" in err
    arguments = ["export", "acme/tone", str(tmp_path / "served"), "--layout", "vllm", "--without-head", "--json"]
    document = json.loads(run_ahf(*arguments)[1])
    assert document["left_out"] == ["base_model.model.classifier.bias", "base_model.model.classifier.weight"]
    assert load_file(tmp_path / "served" / WEIGHTS).keys().isdisjoint(document["left_out"]) and "launch" not in document


def test_export_writes_a_graph_and_says_how_far_it_is_from_torch(
    traced_once: None, run_ahf: Ahf, stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("news.csv").write_text("headline;note\nArlo: profit rose.;a\nGant: profit fell.;b\nNyx meets.;c\n")
    of_table = ["--table", "news.csv", "--text", "headline", "--text", "note", "--read", "separator=;", "--sample", "2"]
    strict = ["--precision", "fp32", "--max-labels-changed", "0", "--max-change", "0.00001"]
    code, out, err = run_ahf("export", "acme/tone", "desk", "--layout", "onnx", *of_table, *strict)
    assert (code, out.strip()) == (0, str(tmp_path / "desk")) and "on 2 rows (news.csv)" in err
    assert err.startswith("fp32: 0 labels changed, the largest change of a probability is ") and err.count("\n") == 1
    of_corpus = ["--corpus", "headlines", "--set", "rows=60", "--split", "test", "--precision", "int8", "--json"]
    of_corpus += ["--max-change", "0.5", "--max-labels-changed", "0.5"]
    code, out, err = run_ahf("export", "acme/tone", "made", "--layout", "onnx", *of_corpus)
    assert code == 0, err
    measured = json.loads(out)["manifest"]["measured"]
    assert (measured["corpus"], measured["split"], measured["rows"]) == ("headlines", "test", 12)
    vectors = ["--pooling", "mean", "--layer", "-1", "--normalize"]
    code, _, err = run_ahf("export", "acme/tone", "near", "--layout", "onnx", *of_table, *vectors)
    assert code == 1 and "are for vectors" in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir() and path.name in "desk made near") == [
        *("desk", "made")
    ]


def test_export_says_how_an_engine_serves_the_folder(run_ahf: Ahf, stocked: Path, tmp_path: Path) -> None:
    headless = ["export", "acme/tone", "--layout", "vllm", "--without-head", "--engine", "vllm"]
    code, out, _ = run_ahf(*headless, str(tmp_path / "one"))
    folder, command, request = out.splitlines()
    assert (code, folder) == (0, str(tmp_path / "one")) and f"--lora-modules acme/tone@1={folder}" in command
    assert request == 'POST /v1/completions {"model": "acme/tone@1", "prompt": "Margins widened in Q3."}'
    launch = json.loads(run_ahf(*headless, str(tmp_path / "two"), "--json")[1])["launch"]
    assert launch["command"][:3] == ["vllm", "serve", "acme/tiny"] and launch["body"]["model"] == "acme/tone@1"
    code, _, err = run_ahf("export", "acme/tone", str(tmp_path / "three"), "--engine", "sglang")
    assert code == 1 and "sglang can't serve acme/tone@1" in err and not (tmp_path / "three").exists()


def test_import_says_what_it_left_repaired_and_warns_of(run_ahf: Ahf, trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(trained.version.files, folder)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save({name: t * 0 if "lora_B" in name else t for name, t in tensors.items()}, folder / "adapter_model.bin")
    (folder / "notes.log").write_text("left")
    dated = ["--knowledge-end", "2021-03-01", "--evidence", "the desk's record", "--license", "MIT"]
    dated += ["--base-knowledge-end", "2019-12-31", "--base-evidence", "its card"]
    (folder / "\x1b[2J.log").write_text("hostile")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.log")).write_text("no text")
    arguments = ["import", str(folder), "--as", "acme/theirs", *dated]
    code, _, err = run_ahf(*arguments)
    assert code == 1 and "--allow-pickle" in err
    code, out, err = run_ahf(*arguments, "--allow-pickle")
    assert (code, out.strip()) == (0, "acme/theirs@1")
    for said in ("left out: notes.log", "repaired: adapter_model.bin", "warning: every lora_B"):
        assert said in err
    assert "\x1b" not in err and "\\udcff.log" in err
    document = json.loads(run_ahf(*arguments, "--allow-pickle", "--json")[1])
    assert "notes.log" in document["dropped"] and len(document["repairs"]) == len(document["warnings"]) == 1
    assert document["reference"] == "acme/theirs@1"  # dated, it is the version that is there
    manifest = ahf.Registry().resolve("acme/theirs").manifest
    assert manifest.license == "MIT" and {each.kind for each in manifest.knowledge.inputs} == {"asserted"}


def test_a_version_is_folded_into_its_base_and_taken_out_again(
    run_ahf: Ahf, stocked: Path, encoder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    code, out, err = run_ahf("export", "acme/tone", str(folder), "--layout", "merged")
    assert (code, out) == (0, f"{folder}\n") and "merged 13 changes into" in err and "(written)" in err
    told = json.loads(run_ahf("export", "acme/tone", str(folder) + "2", "--layout", "merged", "--json")[1])["folded"]
    assert len(told["changed"]) == 13 and 0 < told["losses"]["rounding"] < 1e-4 and told["into"] is None
    arguments = ["extract", str(folder), "--base", str(encoder), "--rank", "4", "--into", "acme/back"]
    code, out, err = run_ahf(*arguments)
    assert code == 0 and out.endswith("acme/back@1\n") and "energy kept" in out
    assert "stored in full: classifier.weight" in err
    document = json.loads(run_ahf(*arguments, "--json")[1])
    assert document["reference"] == "acme/back@2" and document["energy"] > 0.999999
    assert [each["rank"] for each in document["parameters"]] == [4] * 13
    there, back = (ahf.load(name).predict(["Profit rose."])[0].scores for name in ("acme/tone", "acme/back"))
    assert back == pytest.approx(there, abs=1e-5)
    code, _, err = run_ahf("extract", str(encoder), "--base", str(encoder), "--into", "acme/none")
    assert code == 1 and err.startswith("ahf: no matrix of the tuned model differs")
