"""What engines refuse: by running Transformers, and for engines that are not installed by their own published rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import peft
import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.exporting import transformers
from adapterhub_fin.exporting.checking import Report
from adapterhub_fin.exporting.finding import Finding, StoredAdapter
from adapterhub_fin.exporting.vllm import RANKS
from adapterhub_fin_registry import Version

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
CAUSAL: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
Store = Callable[..., Version]


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(**{"r": 4, "lora_alpha": 8, "init_lora_weights": False, **CAUSAL, **options})


def causal(decoder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(decoder).eval()


@pytest.fixture
def store(decoder: Path, tmp_path: Path) -> Store:
    """acme/served@1: what PEFT saves of a plan on the tiny decoder, its weights moved, its configuration changed."""

    def make(plan: Any, files: dict[str, bytes] | None = None, **config: Any) -> Version:
        torch.manual_seed(0)
        model = get_peft_model(causal(decoder), plan)
        for parameter in model.parameters():
            if parameter.requires_grad:
                with torch.no_grad():
                    parameter.add_(0.3 * torch.randn_like(parameter))
        folder = tmp_path / f"folder-{len(list(tmp_path.glob('folder-*')))}"
        model.save_pretrained(folder, save_embedding_layers=False)
        saved = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**saved, "base_model_name_or_path": "acme/tiny", **config}))
        for name, data in (files or {}).items():
            (folder / name).write_bytes(data)
        return ahf.import_folder(folder, "acme/served").version

    return make


def said(report: Report) -> list[tuple[str, str]]:
    return [(finding.level, finding.where) for finding in report.findings]


class TestTransformers:
    """Installed here, so that each verdict is what its own `load_adapter` then does."""

    PLANS: ClassVar[dict[str, tuple[Callable[[], Any], str]]] = {
        "lora": (lora, "served"),
        "rslora": (lambda: lora(use_rslora=True), "served"),
        "ranks and alphas by layer": (lambda: lora(rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}), "served"),
        "biases": (lambda: lora(lora_bias=True), "served"),
        "a whole module": (lambda: lora(modules_to_save=["lm_head"]), "served"),
        "ia3": (lambda: IA3Config(feedforward_modules=[], **CAUSAL), "served"),
        "dora": (lambda: lora(use_dora=True), "wrong"),
        "vera": (lambda: VeraConfig(r=4, **CAUSAL), "refused"),
        "prefix": (lambda: PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), "refused"),
        "prompt": (lambda: PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), "refused"),
    }

    @pytest.mark.parametrize("name", PLANS)
    def test_the_verdict_is_what_it_does(self, store: Store, decoder: Path, name: str) -> None:
        plan, verdict = self.PLANS[name]
        version = store(plan())
        report = ahf.check("acme/served", "transformers")
        worst = next((level for level in ("refused", "wrong") if level in {f.level for f in report.findings}), "served")
        assert (worst, report.served) == (verdict, verdict == "served")
        ids, model = torch.arange(5, 21)[None], causal(decoder)
        if verdict == "refused":
            with pytest.raises(ValueError, match="does not support"):
                model.load_adapter(str(version.files))
            return
        model.load_adapter(str(version.files))
        with torch.inference_mode():
            expected = PeftModel.from_pretrained(causal(decoder), str(version.files)).eval()(ids).logits
            assert torch.equal(model.eval()(ids).logits, expected) is (verdict == "served")

    def test_pruned_adalora_is_refused(self, decoder: Path) -> None:
        from adapterhub_fin.testing import tiny_corpus

        run = ahf.train(
            name="acme/pruned",
            base={"path": str(decoder)},
            method={"name": "adalora", "initial_rank": 6, "target_rank": 2},
            head="causal-lm",
            corpus={"name": tiny_corpus()},
            training={"epochs": 3, "batch_size": 8, "max_length": 32},
        )
        assert json.loads((run.version.files / CONFIG).read_text())["rank_pattern"]
        assert said(ahf.check("acme/pruned", "transformers")) == [("refused", "rank_pattern")]
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            causal(decoder).load_adapter(str(run.version.files))

    def test_the_types_are_those_that_peft_itself_tells_apart(self) -> None:
        tuners: Any = peft.PEFT_TYPE_TO_TUNER_MAPPING
        kinds: Any = peft.PEFT_TYPE_TO_CONFIG_MAPPING
        shared = {str(kind.value) for kind, tuner in tuners.items() if getattr(tuner, "uses_shared_state", False)}
        prompts = {str(kind.value) for kind in kinds if hasattr(kinds[kind], "num_virtual_tokens")}
        assert shared == transformers.SHARED
        assert prompts | {"ADAPTION_PROMPT", "SHADOW", "CPT"} == transformers.PROMPTS | {"CPT"}


class TestVllm:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, []),
            ({"use_rslora": True}, []),
            ({"r": 16}, []),
            ({"r": 17}, [("refused", "r")]),
            ({"rank_pattern": {"q_proj": 32}}, [("refused", "r"), ("wrong", "rank_pattern")]),
            ({"alpha_pattern": {"v_proj": 3}}, [("wrong", "alpha_pattern")]),
            ({"alpha_pattern": {"v_proj": 8}}, []),  # which is the usual alpha
            (
                {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {".*q_proj": 4}},
                [],
            ),  # which is the usual ratio, as merged
            ({"use_dora": True}, [("refused", "use_dora"), ("refused", "lora_magnitude_vector")]),
            ({"lora_bias": True}, [("refused", "lora_bias"), ("refused", "lora_B.bias")]),
            ({"modules_to_save": ["lm_head"]}, [("refused", "modules_to_save"), ("refused", "lm_head.weight")]),
            ({"trainable_token_indices": [3]}, [("refused", "trainable_tokens_delta")]),
        ],
    )
    def test_its_rules(self, store: Store, options: dict[str, Any], expected: list[tuple[str, str]]) -> None:
        store(lora(**options))
        report = ahf.check("acme/served", "vllm")
        found = said(report)
        assert found[-1] == ("unsure", "target_modules") and "q_proj, v_proj" in report.findings[-1].says
        assert [level for level, _ in found[:-1]] == [level for level, _ in expected]
        assert all(named.endswith(where) for (_, named), (_, where) in zip(found, expected, strict=False))
        assert report.served is not expected and report.served == (not expected)

    def test_a_rank_is_served_where_the_server_is_started_for_it(self, store: Store) -> None:
        store(lora(r=20))
        assert "--max-lora-rank 32" in ahf.check("acme/served", "vllm").findings[0].do
        assert ahf.check("acme/served", "vllm", max_lora_rank=32).served
        assert sorted(RANKS) == list(RANKS)

    @pytest.mark.parametrize("start", ["pissa", "olora"])
    def test_a_start_that_changes_the_base(self, store: Store, start: str) -> None:
        store(lora(), init_lora_weights=start)
        assert said(ahf.check("acme/served", "vllm"))[0] == ("wrong", "init_lora_weights")

    @pytest.mark.parametrize("start", ["pissa_niter_4", "corda", "loftq", "lora_ga"])
    def test_a_start_that_no_load_can_repeat_is_not_imported(self, store: Store, start: str) -> None:
        with pytest.raises(ahf.NotAnAdapter, match=f"init_lora_weights {start} takes"):  # G 24
            store(lora(), init_lora_weights=start)

    @pytest.mark.parametrize("start", ["gaussian", "eva", "orthogonal", True])
    def test_a_start_that_leaves_the_base_alone(self, store: Store, start: Any) -> None:
        store(lora(), init_lora_weights=start)
        assert ahf.check("acme/served", "vllm").served

    @pytest.mark.parametrize("target", ["vllm", "sglang"])
    def test_other_types_and_half_a_configuration(self, store: Store, target: str) -> None:
        store(IA3Config(feedforward_modules=[], **CAUSAL))
        assert said(ahf.check("acme/served", target)) == [("refused", "peft_type")]
        store(AdaLoraConfig(total_step=5, **CAUSAL))
        assert said(ahf.check("acme/served", target)) == [("refused", "peft_type")]

    @pytest.mark.parametrize("target", ["vllm", "sglang"])
    @pytest.mark.parametrize("key", ["r", "lora_alpha", "target_modules"])
    def test_a_configuration_that_lacks_what_an_engine_reads(self, target: str, key: str) -> None:
        from adapterhub_fin.exporting.checking import findings

        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
        del config[key]
        found = findings(StoredAdapter(config, {}, {}, None, None), target)
        assert [(each.level, each.where) for each in found] == [("refused", key)]


class TestSglang:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, []),
            ({"r": 64}, []),
            ({"use_rslora": True}, [("wrong", "use_rslora")]),
            ({"use_dora": True}, [("refused", "use_dora"), ("wrong", "lora_magnitude_vector")]),
            ({"rank_pattern": {"q_proj": 2}}, [("wrong", "rank_pattern")]),
            ({"modules_to_save": ["lm_head"]}, [("wrong", "lm_head.weight")]),
            ({"target_modules": r".*\.(q|v)_proj"}, [("refused", "target_modules")]),
        ],
    )
    def test_its_rules(self, store: Store, options: dict[str, Any], expected: list[tuple[str, str]]) -> None:
        store(lora(**options))
        report = ahf.check("acme/served", "sglang")
        assert [level for level, _ in said(report)] == [level for level, _ in expected]
        assert all(named.endswith(where) for (_, named), (_, where) in zip(said(report), expected, strict=True))
        assert report.served == (not expected)

    def test_a_limit_of_the_server_s_and_tokens_of_the_adapter_s(self, store: Store) -> None:
        store(lora(r=32), {"added_tokens.json": b'{"<desk>": 260}'})
        assert said(ahf.check("acme/served", "sglang")) == [("unsure", "added_tokens.json")]
        assert said(ahf.check("acme/served", "sglang", max_lora_rank=16))[1] == ("refused", "r")

    def test_a_vocabulary_that_is_known(self) -> None:
        from adapterhub_fin.exporting.sglang import rules

        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
        levels = {
            size: [each.level for each in rules(StoredAdapter(config, {}, {"<desk>": 260}, None, size), None)]
            for size in (None, 260, 261)
        }
        assert levels == {None: ["unsure"], 260: ["refused"], 261: []}

    def test_layers_that_the_default_does_not_know(self) -> None:
        from adapterhub_fin.exporting.sglang import rules

        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["c_attn"]}
        tensors = {f"base_model.model.transformer.h.0.attn.c_attn.lora_{f}.weight": (4, 4) for f in "AB"}
        (found,) = rules(StoredAdapter(config, tensors, {}, None, None), None)
        assert (found.level, "c_attn" in found.says) == ("unsure", True)


def test_every_finding_says_what_to_do(store: Store) -> None:
    store(lora(use_dora=True, lora_bias=False, modules_to_save=["lm_head"], rank_pattern={"q_proj": 64}))
    for target in ("vllm", "sglang", "transformers"):
        report = ahf.check("acme/served", target)
        assert report.findings and all(isinstance(each, Finding) and each.says and each.do for each in report.findings)
    with pytest.raises(ahf.UnknownName, match="did you mean vllm"):
        ahf.check("acme/served", "vlm")


class TestExport:
    def test_the_peft_layout_is_every_file_as_it_is_stored(self, store: Store, decoder: Path, tmp_path: Path) -> None:
        version = store(lora(), {"tokenizer.json": b"{}"})
        done = ahf.export("acme/served", tmp_path / "out" / "served")
        written = {path.name: path.read_bytes() for path in done.folder.iterdir()}
        assert written == {path.name: path.read_bytes() for path in version.files.iterdir()}
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["served"]
        PeftModel.from_pretrained(causal(decoder), str(done.folder))

    def test_a_folder_that_holds_anything_is_left_alone(self, store: Store, tmp_path: Path) -> None:
        store(lora())
        (tmp_path / "mine").mkdir()
        ahf.export("acme/served", tmp_path / "mine")
        with pytest.raises(ahf.Refused, match="exists already"):
            ahf.export("acme/served", tmp_path / "mine")
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        (tmp_path / "file").write_text("mine")
        for taken in ("link", "file"):
            with pytest.raises(ahf.Refused, match="exists already"):
                ahf.export("acme/served", tmp_path / taken)
        assert (tmp_path / "file").read_text() == "mine"

    def test_an_export_that_breaks_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        version = store(lora())
        config = version.files / CONFIG
        config.chmod(0o644)
        config.write_bytes(config.read_bytes() + b" ")
        with pytest.raises(ahf.Corrupted):
            ahf.export("acme/served", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_the_vllm_layout_is_what_vllm_reads(self, store: Store, tmp_path: Path) -> None:
        version = store(lora(r=20), {"tokenizer.json": b"{}", "notes.txt": b"the desk's"})
        done = ahf.export("acme/served", tmp_path / "out", layout="vllm")
        assert sorted(path.name for path in done.folder.iterdir()) == [CONFIG, WEIGHTS, "tokenizer.json"]
        assert (done.folder / WEIGHTS).read_bytes() == (version.files / WEIGHTS).read_bytes()
        assert [note.where for note in done.notes] == ["r", "target_modules"] and not done.left_out

    def test_what_vllm_would_not_load_is_refused(self, store: Store, tmp_path: Path) -> None:
        for options in ({"use_dora": True}, {"alpha_pattern": {"q_proj": 1}}, {"modules_to_save": ["lm_head"]}):
            store(lora(**options))
            with pytest.raises(ahf.Refused, match="vLLM can't serve acme/served"):
                ahf.export("acme/served", tmp_path / "out", layout="vllm")
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))

    def test_a_head_is_left_out_on_request_alone(self, store: Store, tmp_path: Path) -> None:
        version = store(lora(modules_to_save=["lm_head"]))
        done = ahf.export("acme/served", tmp_path / "out", layout="vllm", without_head=True)
        stored, written = load_file(version.files / WEIGHTS), load_file(done.folder / WEIGHTS)
        assert done.left_out == ["base_model.model.lm_head.weight"]
        assert written.keys() == stored.keys() - set(done.left_out)
        assert all(torch.equal(written[name], stored[name]) for name in written)
        assert json.loads((done.folder / CONFIG).read_text())["modules_to_save"] is None
        ahf.import_folder(done.folder, "acme/again")
        assert ahf.check("acme/again", "vllm").served
        with pytest.raises(ahf.Refused, match="predicts at random"):
            ahf.export("acme/served", tmp_path / "other", without_head=True)

    def test_weights_keep_their_types_and_their_bits(self, tmp_path: Path) -> None:
        from adapterhub_fin.engine.base.tensor_file import TensorFile

        kinds = (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool, torch.float8_e4m3fn)
        tensors = {str(kind): torch.arange(-3, 4).to(kind) for kind in kinds} | {"scalar": torch.tensor(2.5)}
        save_file({**tensors, "left": torch.ones(5)}, tmp_path / "a.safetensors")
        TensorFile(tmp_path / "a.safetensors").rewrite({name: f"new.{name}" for name in tensors}, tmp_path / "b")
        written = load_file(tmp_path / "b")
        assert written.keys() == {f"new.{name}" for name in tensors}
        for name, tensor in tensors.items():
            assert written[f"new.{name}"].dtype == tensor.dtype
            assert torch.equal(
                written[f"new.{name}"].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
            )


def test_a_method_that_peft_knows_nothing_of_is_exported_and_not_served(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"w": torch.ones(2)}, folder / "weights.safetensors")
    instant = "2020-01-01T00:00:00Z"
    manifest = ahf.Manifest.model_validate(
        {
            "method": {"name": "acme-shift"},
            "base": {"fingerprint": "unknown"},
            "knowledge": {"inputs": [{"input": "base", "at": instant, "kind": "asserted"}], "end": instant},
        }
    )
    ahf.Registry().add(folder, manifest, name="acme/shift")
    assert (ahf.export("acme/shift", tmp_path / "out").folder / "weights.safetensors").is_file()
    for target in ("vllm", "sglang", "transformers"):
        assert said(ahf.check("acme/shift", target)) == [("refused", CONFIG)]
    with pytest.raises(ahf.Refused, match="no adapter_config.json"):
        ahf.export("acme/shift", tmp_path / "other", layout="vllm")
