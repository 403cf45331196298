"""What goes wrong for PEFT's users of one method or another: shown on plain PEFT first, then refused or right here."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaLoraConfig,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.testing.bench import TEXTS, Bench

WEIGHTS = "adapter_model.safetensors"
CLASSIFY = {"name": "classify"}


def classifier(base: Path, **config: Any) -> Any:
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, **config).eval()


def answers(model: torch.nn.Module, base: Path) -> torch.Tensor:
    batch = AutoTokenizer.from_pretrained(base)(
        list(TEXTS), return_tensors="pt", padding=True, truncation=True, max_length=48
    )
    with torch.inference_mode():
        return model.eval()(**batch).logits


class TestSixAStartThatChangesTheBase:
    """Item 6: PiSSA and its like take a part of the base's weights away, and a second adapter answers wrongly."""

    def test_plain_peft_answers_wrongly_beside_it(self, encoder: Path) -> None:
        def second_beside(init: Any) -> torch.Tensor:
            config = {"task_type": "SEQ_CLS", "target_modules": ["query"], "r": 4}
            model = get_peft_model(classifier(encoder), LoraConfig(**config, init_lora_weights=init), "first")
            model.add_adapter("second", LoraConfig(**config))
            model.set_adapter("second")
            return answers(model, encoder)

        assert float((second_beside("pissa") - second_beside(True)).abs().max()) > 1e-2

    @pytest.mark.parametrize("init", ["pissa", "olora", "corda", "lora-ga"])
    def test_what_is_stored_is_plain_lora_on_the_base_that_everyone_has(self, init: str, tmp_path: Path) -> None:
        method = {"name": "lora", "rank": 4, "init": init, "rslora": True, "targets": ["query", "value"]}
        bench = Bench(tmp_path, "encoder", method, CLASSIFY)
        run = bench.train("from-a-part")
        stored = json.loads((run.version.files / "adapter_config.json").read_text())
        assert stored["init_lora_weights"] is True and stored["r"] == 8
        plain = PeftModel.from_pretrained(classifier(bench.base()), str(run.version.files))
        assert torch.allclose(answers(plain, bench.base()), run.adapter.logits(TEXTS), atol=1e-5)

    @pytest.mark.parametrize("init", ["corda", "eva"])
    def test_a_start_says_which_layers_it_can_t_read(self, init: str, tmp_path: Path) -> None:
        bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4, "init": init}, CLASSIFY)
        with pytest.raises(
            ahf.BadRecipe, match=f"{init} can't use a layer that sees one vector for each text, such as a"
        ):
            bench.train("pooled")

    def test_the_difference_to_the_start_is_exact(self, tmp_path: Path) -> None:
        """The trained model, base changed and all, answers as what is stored does on the base as it was."""
        from adapterhub_fin.engine.training import train as training

        seen: list[torch.Tensor] = []
        whole = training._store

        def listening(loaded: Any, registry: Any, model: Any, *rest: Any) -> str:
            seen.append(answers(model, bench.base()))
            return whole(loaded, registry, model, *rest)

        bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4, "init": "pissa"}, CLASSIFY)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "_store", listening)
            run = bench.train("exact")
        assert torch.allclose(seen[0], run.adapter.logits(TEXTS), atol=1e-5)

    def test_dora_and_such_a_start_are_refused_together(self) -> None:
        with pytest.raises(ahf.BadRecipe, match="dora rescales full weights, and the init pissa splits them"):
            ahf.train(name="a/b", corpus="headlines", method={"name": "lora", "dora": True, "init": "pissa"})

    def test_a_rank_beyond_the_directions_there_are_is_refused_before_the_base_is_read(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 16, "init": "lora-ga"}, CLASSIFY)
        (bench.base() / "model.safetensors").unlink()
        with pytest.raises(ahf.BadRecipe, match=r"needs 32 directions, and model.layers.0.self_attn.k_proj has 16"):
            bench.train("wide")


class TestEightAdaLora:
    """Item 8: the allocator needs the true number of steps, and a scale by the initial rank."""

    def test_plain_peft_wants_the_steps_first_and_breaks_where_nothing_is_pruned(self, encoder: Path) -> None:
        with pytest.raises(ValueError, match="total_step"):
            AdaLoraConfig(task_type="SEQ_CLS")
        config = AdaLoraConfig(task_type="SEQ_CLS", init_r=4, target_r=4, total_step=10, target_modules=["query"])
        model = get_peft_model(classifier(encoder), config)
        batch = AutoTokenizer.from_pretrained(encoder)(["Profit rose."], return_tensors="pt")
        model(**batch, labels=torch.tensor([0])).loss.backward()
        with pytest.raises((RuntimeError, IndexError)):
            model.base_model.update_and_allocate(1)

    def test_ranks_that_leave_nothing_to_prune_are_refused(self) -> None:
        with pytest.raises(ahf.BadRecipe, match="target_rank 8 must be below initial_rank 8"):
            ahf.train(name="a/b", corpus="headlines", method={"name": "adalora", "initial_rank": 8, "target_rank": 8})

    @pytest.mark.parametrize("base", ["encoder", "decoder"])
    def test_the_budget_is_met_and_plain_peft_reads_the_version(self, base: Any, tmp_path: Path) -> None:
        method = {"name": "adalora", "initial_rank": 4, "target_rank": 2}
        bench = Bench(tmp_path, base, method, CLASSIFY)
        # One epoch, so that the checkpoint which is kept is of the end, where the ranks are final.
        run = bench.train("budget", epochs=1, batch_size=2)
        ranks = [len(value) for name, value in load_file(run.version.files / WEIGHTS).items() if "lora_E" in name]
        assert sum(ranks) == 2 * len(ranks) and len(set(ranks)) > 1, f"the ranks are {ranks}"
        plain = PeftModel.from_pretrained(classifier(bench.base(), pad_token_id=0), str(run.version.files))
        assert torch.allclose(answers(plain, bench.base()), run.adapter.logits(TEXTS), atol=1e-5)

    def test_the_steps_are_the_true_ones_and_the_penalty_is_there(self, tmp_path: Path) -> None:
        from adapterhub_fin.engine.training import train as training

        seen: list[Any] = []
        whole = training.build_trainer

        def listening(loaded: Any, model: Any, *rest: Any) -> Any:
            trainer = whole(loaded, model, *rest)
            seen.extend(
                [
                    model.peft_config[loaded.context.adapter_name],
                    loaded.method.penalty(model, loaded.context.adapter_name),
                ]
            )
            return trainer

        bench = Bench(tmp_path, "encoder", {"name": "adalora", "initial_rank": 4, "target_rank": 2}, CLASSIFY)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "build_trainer", listening)
            run = bench.train("steps", epochs=2)
        config, penalty = seen
        assert (config.total_step, config.tinit, config.tfinal) == (run.steps, 1, 5)
        assert float(penalty) > 0 and penalty.requires_grad


class TestNinePrefixTuning:
    """Item 9: what is stored can't be trained on (test_resume.py: a run here can), and recomputing loses it."""

    def config(self, **more: Any) -> PrefixTuningConfig:
        return PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4, **more)

    def test_plain_peft_can_t_go_on_from_what_it_stores(self, encoder: Path) -> None:
        config = self.config(prefix_projection=True, encoder_hidden_size=8)
        model = get_peft_model(classifier(encoder), config)
        stored = get_peft_model_state_dict(model)
        again = get_peft_model(classifier(encoder), copy.deepcopy(config))
        with pytest.raises(RuntimeError, match="size mismatch"):
            set_peft_model_state_dict(again, stored)

    def test_plain_peft_raises_where_layers_are_computed_again(self, encoder: Path) -> None:
        model = classifier(encoder)
        model.gradient_checkpointing_enable()
        with pytest.raises(ValueError, match="does not work with gradient checkpointing"):
            get_peft_model(model, self.config())

    def test_recomputation_is_refused_before_the_base_is_read(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, "encoder", {"name": "prefix-tuning"}, CLASSIFY)
        (bench.base() / "model.safetensors").unlink()
        with pytest.raises(ahf.BadRecipe, match=r"training.recompute does not go with the method prefix-tuning"):
            bench.train("again", recompute=True)

    def test_a_prefix_of_another_depth_is_refused(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, "encoder", {"name": "prefix-tuning", "tokens": 4}, CLASSIFY)
        run = bench.train("deep")
        shallow = classifier(bench.base(), num_hidden_layers=1)
        plain = PeftModel.from_pretrained(copy.deepcopy(shallow), str(run.version.files))
        assert answers(plain, bench.base()).isfinite().all()  # it loads, and answers with half of its prefix
        with pytest.raises(ahf.WrongBase, match="does not have the layers"):
            ahf.attach(shallow, run.reference, tokenizer=run.adapter.tokenizer, registry=bench.registry)

    def test_a_prefix_starts_from_what_the_base_makes_of_a_text(self, tmp_path: Path) -> None:
        from adapterhub_fin.engine.base.adapter_names import new_adapter_name
        from adapterhub_fin.engine.training.prepare import load_run, prepare

        for base in ("encoder", "decoder"):
            method = {"name": "prefix-tuning", "tokens": 5, "text": "Profit rose."}
            bench = Bench(tmp_path / base, base, method, CLASSIFY)
            loaded = load_run(prepare(ahf.Recipe.read(bench.recipe("start"))), new_adapter_name())
            seen: dict[str, torch.Tensor] = {}
            name = (
                "bert.encoder.layer.1.attention.self.value" if base == "encoder" else "model.layers.1.self_attn.v_proj"
            )
            hook = loaded.model.get_submodule(name).register_forward_hook(
                lambda module, given, out, seen=seen: seen.update(value=out)
            )
            ids = torch.tensor([loaded.tokenizer("Profit rose.", add_special_tokens=False)["input_ids"][:5]])
            loaded.model.eval()(input_ids=ids)
            hook.remove()
            adapted: Any = loaded.method.attach(loaded.model, loaded.context)
            prefix = adapted.prompt_encoder[loaded.context.adapter_name].embedding.weight
            assert torch.allclose(prefix[:, -seen["value"].shape[-1] :], seen["value"][0], atol=1e-5)
