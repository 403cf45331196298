"""DPO: the loss is TRL's, whatever the padding, and the reference is the model before training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.engine.inference.reference import with_references
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.examples import IGNORED
from adapterhub_fin.testing import HeadContract
from adapterhub_fin.testing.bench import Bench

ROWS = [
    {"prompt": "Profit of Arlo", "chosen": " rose by a tenth.", "rejected": " fell."},
    {"prompt": "Brent says:", "chosen": " no.", "rejected": " we can't say what the guidance for the year is."},
    {"prompt": "Corvo and Dunel, in a longer question: do both", "chosen": " pay?", "rejected": " owe?"},
]
TURNS = {
    "prompt": [{"role": "user", "content": "Did profit rise?"}],
    "chosen": [{"role": "assistant", "content": "Yes."}],
    "rejected": [{"role": "assistant", "content": "Perhaps."}],
}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def tokenizer(decoder: Path) -> Any:
    return padding(AutoTokenizer.from_pretrained(decoder))


@pytest.fixture
def base(decoder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(decoder).eval()


def head(**options: Any) -> Any:
    return build_plugin(Head, "preference", options)


def encoded(rows: Sequence[dict[str, Any]], tokenizer: Any, size: int = 120) -> list[dict[str, Any]]:
    return list(head().encode(Dataset.from_list(list(rows)), tokenizer, size))


LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def moved(model: Any) -> Any:
    """The model with a LoRA that changes what the base answers."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def loss_of(built: Any, model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]]) -> torch.Tensor:
    collate = built.collator(tokenizer)
    with model.disable_adapter():
        examples = with_references(built, model, collate, encoded(rows, tokenizer), batch_size=2)
    batch = collate(list(examples))
    labels = batch.pop("labels")
    loss: torch.Tensor = built.loss(model(**batch), labels)
    return loss


@pytest.mark.parametrize("options", [{}, {"beta": 0.5}], ids=str)
def test_the_loss_is_that_of_trl(options: dict[str, Any], base: Any, tokenizer: Any, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    built = head(**options)
    config = DPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(ROWS),
        beta=built.options.beta,
        max_length=120,
        use_cpu=True,
        report_to="none",
        gradient_checkpointing=False,
        remove_unused_columns=False,
        disable_dropout=True,
    )
    trainer = DPOTrainer(
        model=base, args=config, train_dataset=Dataset.from_list(ROWS), processing_class=tokenizer, peft_config=LORA
    )
    model = moved(trainer.model)
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = float(trainer.compute_loss(model, batch).detach())
    ours = float(loss_of(built, model, tokenizer, ROWS).detach())
    assert abs(ours - theirs) < 1e-5
    assert abs(ours - 0.693147) > 1e-3, "the adapter changes nothing, so the test would pass without a reference"


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(side: str, base: Any, tokenizer: Any) -> None:
    model, built = moved(get_peft_model(base, LORA)), head()
    tokenizer.padding_side = side
    together = loss_of(built, model, tokenizer, ROWS)
    alone = torch.stack([loss_of(built, model, tokenizer, [row]) for row in ROWS]).mean()
    assert float((together - alone).abs()) < 1e-5


def test_the_answer_alone_is_predicted(tokenizer: Any) -> None:
    for row, example in zip(ROWS, encoded(ROWS, tokenizer), strict=True):
        for name, ids, labels in zip(("chosen", "rejected"), example["input_ids"], example["labels"], strict=True):
            said = [token for token in labels if token != IGNORED]
            assert tokenizer.decode(said, skip_special_tokens=True) == row[name]
            assert said[-1] == tokenizer.eos_token_id and len(ids) == len(labels)


@pytest.mark.parametrize("answers", ["turns", "texts"])
def test_messages_are_written_by_the_chat_template(answers: str, tokenizer: Any) -> None:
    tokenizer.chat_template = TEMPLATE
    row = TURNS if answers == "turns" else {**TURNS, "chosen": "Yes.", "rejected": "Perhaps."}
    (example,) = encoded([row], tokenizer)
    said = [tokenizer.decode([t for t in labels if t != IGNORED]) for labels in example["labels"]]
    assert said == ["Yes.</assistant>", "Perhaps.</assistant>"]
    assert tokenizer.decode(example["input_ids"][0]).startswith("<user>Did profit rise?</user><assistant>Yes.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "P", "chosen": "a", "rejected": "a"}, "the same answer: drop the row"),
        ({**TURNS, "prompt": "P"}, "prompt is a text and chosen a conversation"),
        ({**TURNS, "chosen": TURNS["prompt"]}, "chosen holds a turn that is not the assistant's"),
    ],
)
def test_a_pair_that_says_nothing_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadCorpus, match=reason):
        head().target(row)


def test_answers_beyond_the_length_are_refused(tokenizer: Any) -> None:
    row = {"prompt": "P" * 30, "chosen": "same, then b", "rejected": "same, then c"}
    with pytest.raises(BadCorpus, match="row 0: no token of chosen lies within training.max_length, 20 tokens"):
        encoded([row], tokenizer, 20)
    with pytest.raises(BadCorpus, match="the same first 38 tokens"):
        encoded([row], tokenizer, 38)


def pairs(folder: Path, rows: int = 24) -> dict[str, Any]:
    """A corpus of pairs whose better answer is the one that says a number."""
    table = [
        {
            "q": f"Firm {i}: profit",
            "good": f" rose by {i % 7}.",
            "bad": " fell, perhaps.",
            "day": f"2020-01-{i + 1:02d}",
        }
        for i in range(rows)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, table)), encoding="utf-8")
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    dated = {"available_at": "day", "label_horizon": "2d", "timezone": "UTC", "license": "CC0-1.0"}
    return {"name": "table", "path": str(folder / "pairs.jsonl"), "columns": columns, **dated}


class TestPreference(HeadContract):
    name = "preference"
    bases = ("decoder",)

    @pytest.fixture(autouse=True)
    def _pairs(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "corpus", pairs(tmp_path_factory.mktemp("pairs")))


def test_what_training_measures_an_evaluation_measures_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "prompt-tuning", "tokens": 4}, {"name": "preference"}, pairs(tmp_path))
    run = bench.train("pairs")
    found = ahf.evaluate(run.reference, registry=bench.registry, base=bench.base(), resamples=10)
    assert found.metrics == run.metrics
    assert run.metrics["reward_margin"] > 0
    dates = {each.input: datetime.fromisoformat(each.at) for each in run.version.manifest.knowledge.inputs}
    assert dates["labels:table"] - dates["corpus:table"] == timedelta(days=2), "a judgement is known when it was made"
    with pytest.raises(BadRecipe, match="measured against its base without an adapter: give base as a folder"):
        ahf.evaluate(run.reference, registry=bench.registry, base=run.adapter.model, resamples=10)


def test_the_reference_is_the_base_and_not_the_fresh_adapter(tmp_path: Path) -> None:
    """A fresh prompt changes the answers, so that the first margins are not zero."""
    bench = Bench(tmp_path, "decoder", {"name": "prompt-tuning", "tokens": 4}, {"name": "preference"}, pairs(tmp_path))
    still = bench.train("still", epochs=1, learning_rate=1e-12)
    assert abs(still.metrics["preference_loss"] - 0.693147) > 1e-3
    lora = Bench(tmp_path / "lora", "decoder", {"name": "lora"}, {"name": "preference"}, pairs(tmp_path))
    assert abs(lora.train("still", epochs=1, learning_rate=1e-12).metrics["preference_loss"] - 0.693147) < 1e-5


def test_accumulation_changes_no_step(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora", "dropout": 0.0}, {"name": "preference"}, pairs(tmp_path))
    whole, parts = (bench.train(f"parts-{n}", epochs=2, accumulate=n, learning_rate=1e-3) for n in (1, 4))
    assert whole.losses[0] != whole.losses[1] and whole.steps == parts.steps
    assert whole.losses == pytest.approx(parts.losses, abs=1e-5)


def test_a_version_generates_and_plain_peft_reads_it(tmp_path: Path) -> None:
    from peft import PeftModel

    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4}, {"name": "preference"}, pairs(tmp_path))
    run = bench.train("pairs")
    assert isinstance(run.adapter.generate(["Firm 3: profit"], max_new_tokens=3)[0], str)
    assert isinstance(run.adapter.predict(["Firm 3: profit rose."])[0], ahf.Likelihood)
    talks = [[{"role": "user", "content": "Firm 3?"}, {"role": "assistant", "content": "It rose."}]]
    assert run.adapter.predict([{"messages": talk} for talk in talks])[0].tokens > 0
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bench.base()), run.version.files).eval()
    batch = run.adapter.tokenizer("Firm 3: profit rose.", return_tensors="pt")
    with torch.inference_mode():
        theirs = plain(**batch).logits
    with run.adapter.answering():
        assert torch.equal(run.adapter.model(**batch).logits, theirs)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"columns": {"label": "bad"}}, "label has an option of its own"),
        ({"columns": 3}, "columns"),
        ({"columns": ["prompt", "chosen"]}, "has no column 'prompt'"),
        ({"columns": {"prompt": "q", "chosen": "good"}}, "no column 'rejected', which the head needs"),
    ],
)
def test_a_wrong_column_is_refused_in_one_sentence(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora"}, {"name": "preference"}, {**pairs(tmp_path), **change})
    with pytest.raises((BadCorpus, BadRecipe), match=reason):
        bench.train("pairs")


@pytest.mark.parametrize("beta", [0, -1, "much"])
def test_a_beta_that_is_none_is_refused(beta: Any, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="beta"):
        Bench(tmp_path, "decoder", {"name": "lora"}, {"name": "preference", "beta": beta}, pairs(tmp_path)).train("p")


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="a bert base is an encoder"):
        Bench(tmp_path, "encoder", {"name": "lora"}, {"name": "preference"}, pairs(tmp_path)).train("p")
