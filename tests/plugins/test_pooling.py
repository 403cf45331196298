"""A head that reads the mean of a text's states reads that, and no plain model takes its weights for its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel, PrefixTuningConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DistilBertConfig,
    LlamaConfig,
    RobertaConfig,
)

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.errors import AdapterHubError, BadMerge, BadRecipe, Refused
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.model_parts import unwrapped
from adapterhub_fin.testing.bench import TEXTS, Bench
from adapterhub_fin_plugins.heads import pooling
from adapterhub_fin_registry.model.model_card import card

LORA = {"name": "lora", "rank": 4}
MEAN = {"name": "classify", "pooling": "mean"}
SHAPE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "roberta": RobertaConfig(vocab_size=50, **SHAPE),
    "distilbert": DistilBertConfig(vocab_size=50, dim=32, hidden_dim=64, n_layers=2, n_heads=2),
    "llama": LlamaConfig(vocab_size=50, pad_token_id=0, **SHAPE),
}


def head(name: str = "classify", **options: Any) -> Any:
    built = build_plugin(Head, name, {"pooling": "mean", **options})
    built.set_labels(["down", "flat", "up"] if name == "classify" else None)
    return built


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("mean"), "encoder", LORA, MEAN)


@pytest.fixture(scope="module")
def run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(tmp_path_factory.mktemp("cache")))
        return bench.train("mean")


def test_a_pooled_encoder_answers_from_the_mean_of_its_real_tokens(run: Any) -> None:
    model, batch = (
        run.adapter.model,
        run.adapter.tokenizer(list(TEXTS), padding=True, truncation=True, max_length=48, return_tensors="pt"),
    )
    inner = unwrapped(model)
    with torch.inference_mode():
        states = inner.bert(**batch, output_hidden_states=True).hidden_states[-1]
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        expected = inner.classifier(inner.bert.pooler(mean.unsqueeze(1)))
    assert not states[:, 0].allclose(mean)
    assert torch.allclose(run.adapter.logits(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("name", ["classify", "regress"])
def test_every_class_reads_the_mean(kind: str, name: str) -> None:
    """What it says of a text is what its plain twin says of states that are all the mean."""
    torch.manual_seed(0)
    model = head(name).skeleton(CONFIGS[kind]).eval()
    twin: Any = AutoModelForSequenceClassification.from_config(model.config).eval()
    twin.load_state_dict({key.replace(".0.", ".") if _last(key) else key: v for key, v in model.state_dict().items()})
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])

    def meant(module: Any, args: Any, output: Any) -> Any:
        kept = mask.unsqueeze(-1)
        output.last_hidden_state = ((output.last_hidden_state * kept).sum(1) / kept.sum(1)).unsqueeze(1).repeat(1, 4, 1)
        return output

    with torch.inference_mode():
        first = twin(input_ids=ids, attention_mask=mask).logits
        twin.base_model.register_forward_hook(meant)
        expected = twin(input_ids=ids, attention_mask=mask).logits
        found = model(input_ids=ids, attention_mask=mask).logits
        assert torch.allclose(found, expected, atol=1e-6) and not torch.allclose(found, first, atol=1e-3)
        assert torch.allclose(model(input_ids=ids[1:, :2]).logits, found[1:], atol=1e-6)  # no mask: every token counts


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_a_prefix_does_not_pass_by_it(kind: str) -> None:
    torch.manual_seed(0)
    plain = head().skeleton({**CONFIGS, "bert": BertConfig(vocab_size=50, **SHAPE)}[kind]).eval()
    model = get_peft_model(plain, PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)).eval()
    mask, seen = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]), []
    real = pooling._mean_everywhere

    def watch(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        states, counted = output.last_hidden_state.clone(), mask.unsqueeze(-1)
        seen.append((states * counted).sum(1) / counted.sum(1))
        return real(module, args, kwargs, output)

    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "_mean_everywhere", watch)
        found = model(input_ids=torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]]), attention_mask=mask).logits
        inner: Any = plain
        (mean,) = seen
        if kind == "bert":
            expected = inner.classifier(inner.bert.pooler(mean.unsqueeze(1)))
        else:
            expected = inner.classifier(mean.unsqueeze(1)) if kind == "roberta" else inner.score(mean)
    assert torch.allclose(found, expected, atol=1e-6)


def _last(key: str) -> bool:
    return key.startswith(("classifier.0.", "score.0."))


def test_a_base_with_two_sequences_has_no_one_mean() -> None:
    with pytest.raises(BadRecipe, match="a bart base has both"):  # G 29: with any pooling
        head().check(BartConfig(vocab_size=50, d_model=32))


def test_a_plain_model_does_not_take_its_head(bench: Bench, run: Any) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(bench.base(), num_labels=3)
    with pytest.raises(KeyError, match="classifier"):
        PeftModel.from_pretrained(plain, str(run.version.files))
    said = card(run.version.manifest, "acme/mean")
    assert "Plain PEFT can't load the weights of its head" in said and "AutoPeftModel" not in said


def test_it_is_not_attached_to_a_model_of_another_pooling(bench: Bench, run: Any) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(bench.base(), num_labels=3)
    with pytest.raises(AdapterHubError, match="classifier"):
        ahf.attach(plain, run.reference, registry=bench.registry, tokenizer=run.adapter.tokenizer)


def test_it_is_not_folded_into_a_plain_model(bench: Bench, run: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="head that Transformers does not build"):
        ahf.export(run.reference, tmp_path / "out", layout="merged", base=bench.base(), registry=bench.registry)


def test_heads_of_two_poolings_are_not_averaged(bench: Bench, run: Any) -> None:
    other = Bench(bench.folder, "encoder", LORA, {"name": "classify"}).train("first")
    pair = [run.reference, other.reference]
    with pytest.raises(BadMerge, match="classifier"):
        ahf.merge(pair, using="linear", into="contract/both", registry=bench.registry)


def test_two_means_are_merged(bench: Bench, run: Any) -> None:
    again = bench.train("again", seed=1)
    merged = ahf.merge(
        [run.reference, again.reference],
        weights=[1.0, 0.0],
        using="linear",
        into="contract/one",
        registry=bench.registry,
    )
    loaded = ahf.load(merged.version.reference, base=bench.base(), registry=bench.registry)
    assert torch.allclose(loaded.logits(TEXTS), run.adapter.logits(TEXTS), atol=1e-5)


def test_one_model_in_memory_answers_for_both_poolings(bench: Bench, run: Any) -> None:
    other = Bench(bench.folder, "encoder", LORA, {"name": "classify"}).train("beside")
    base = transformers.AutoModel.from_pretrained(bench.base())
    both = [ahf.load(each.reference, base=base, registry=bench.registry) for each in (run, other)]
    for loaded, each in zip(both * 2, (run, other) * 2, strict=True):
        assert loaded.logits(TEXTS).equal(each.adapter.logits(TEXTS))
