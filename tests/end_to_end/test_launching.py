"""How engines that are not installed are started with an exported folder, and the example of plain PEFT."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.exporting.finding import StoredAdapter
from adapterhub_fin.exporting.launching import ENGINES, Launch, launch
from adapterhub_fin.testing.forked import run_forked

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDER = Path("/exported/the notes")


def stored(rank: int = 20, **config: Any) -> StoredAdapter:
    named = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    tensors: Mapping[str, Any] = {named.format("A"): (rank, 8), named.format("B"): (8, rank)}
    plain = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"]}
    return StoredAdapter({**plain, **config}, tensors, {}, None, None)


def started(engine: str, **config: Any) -> Launch:
    return launch(engine, "acme/notes@3", FOLDER, "acme/tiny", stored(**config))


def test_vllm_is_told_a_rank_that_it_takes() -> None:
    how = started("vllm")
    assert how.command[:5] == ("vllm", "serve", "acme/tiny", "--enable-lora", "--max-lora-rank")
    assert how.command[5:] == ("32", "--lora-modules", f"acme/notes@3={FOLDER}")
    assert how.body["model"] == "acme/notes@3"


def test_sglang_is_asked_for_the_base_and_the_name() -> None:
    how = started("sglang")
    assert how.command[-3:] == ("--enable-lora", "--lora-paths", f"acme/notes@3={FOLDER}")
    assert how.body["model"] == "acme/tiny:acme/notes@3"


def test_lorax_is_told_the_folder_with_each_request_and_tgi_at_its_start() -> None:
    assert started("lorax").body["parameters"] == {"adapter_id": str(FOLDER), "adapter_source": "local"}
    tgi = started("tgi")
    assert tgi.environment == {"LORA_ADAPTERS": f"acme/notes@3={FOLDER}"}
    assert tgi.body["parameters"] == {"adapter_id": "acme/notes@3"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shell_reads_the_command_as_it_is_meant(engine: str) -> None:
    how = started(engine)
    first, second = how.lines()
    variables = [f"{key}={value}" for key, value in how.environment.items()]
    assert shlex.split(first) == [*variables, *how.command]
    assert second.startswith(f"POST {how.path} ") and json.loads(second.partition("{")[1] + second.partition("{")[2])
    assert launch(engine, "acme/notes@3", FOLDER, None, stored()).command.count("BASE") == 1


@pytest.mark.parametrize(
    ("engine", "config", "says"),
    [
        ("vllm", {"use_dora": True}, "does not compute DoRA"),
        ("sglang", {"use_rslora": True}, "rsLoRA"),
        ("lorax", {"peft_type": "IA3"}, "LoRAX serves LORA, and this is IA3"),
        ("tgi", {"peft_type": "IA3"}, "TGI serves LORA, and this is IA3"),
    ],
)
def test_what_an_engine_would_not_serve_is_refused(engine: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(ahf.Refused, match=says):
        started(engine, **config)


def test_a_text_that_an_engine_takes_apart_is_refused() -> None:
    for engine, name, folder in (
        ("sglang", "sha256:abc", "/f"),
        ("sglang", "a=b", "/f"),
        ("tgi", "acme/notes@3", "/with,comma"),
        ("tgi", "acme/notes@3", "/with=sign"),
        ("vllm", "a=b", "/f"),
    ):
        with pytest.raises(ahf.Refused, match="splits the"):
            launch(engine, name, Path(folder), "acme/tiny", stored())
    with pytest.raises(ahf.UnknownName, match="did you mean sglang"):
        launch("sglan", "acme/notes@3", FOLDER, None, stored())


def test_an_export_that_no_engine_would_serve_writes_nothing(trained: Run, tmp_path: Path) -> None:
    registry = ahf.Registry(trained.version.folder.parents[4])
    with pytest.raises(ahf.Refused, match="sglang can't serve acme/tone@1"):
        ahf.export("acme/tone", tmp_path / "out", engine="sglang", registry=registry)
    assert not list(tmp_path.glob("*out*"))
    headless: dict[str, Any] = {"layout": "vllm", "without_head": True, "registry": registry}
    done = ahf.export("acme/tone", tmp_path / "out", engine="vllm", **headless)
    assert done.launch is not None and f"acme/tone@1={tmp_path / 'out'}" in done.launch.command


def test_the_example_of_plain_peft_answers_as_the_adapter_does(
    trained: Run, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHF_HOME", str(trained.version.folder.parents[4]))
    texts = ["Margins widened.", "The dividend is suspended."]
    head = trained.version.manifest.head
    assert head is not None and head.labels is not None
    labels = str(len(head.labels))
    done = run_forked(str(EXAMPLES / "plain_peft.py"), "acme/tone@1", str(encoder), labels, *texts)
    assert done.returncode == 0, done.stderr
    rows = torch.tensor([[float(value) for value in line.split()] for line in done.stdout.splitlines()[-2:]])
    torch.testing.assert_close(rows, trained.adapter.logits(texts), rtol=1e-5, atol=1e-5)
