"""A pool answers rows of any mix of adapters as each answers alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput

import adapterhub_fin as ahf
from adapterhub_fin.engine.pool import trunk as trunk_module
from adapterhub_fin_registry import Version

TEXTS = ["Arlo: profit rose.", "Gant: profit fell, and a longer sentence follows.", "Nyx meets in May.", "No."]
TONES = [f"t/tone-{number}" for number in range(6)]
APART = ["t/dora", "t/biases", "t/scales"]
CLOSE = 1e-5


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return list(itertools.product(TEXTS, names))


def alone(registry: Any, base: Path, rows: Sequence[tuple[str, str]], call: str, **options: Any) -> list[Any]:
    """What each row's own adapter answers, loaded without a pool."""
    names = sorted({name for _, name in rows})
    adapters = {name: ahf.load(name, base=base, registry=registry) for name in names}
    return [getattr(adapters[name], call)([text], **options)[0] for text, name in rows]


def far(one: Sequence[Any], other: Sequence[Any]) -> float:
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(one, other, strict=True))


def test_heads_of_any_width_mix_in_one_call(stock: Any, encoder: Path) -> None:
    pool, rows = ahf.pool(encoder, registry=stock), pairs([*TONES, *APART])
    assert far(pool.logits(rows), alone(stock, encoder, rows, "logits")) < CLOSE
    answers = pool.predict(rows)
    for (_, name), answer in zip(rows, answers, strict=True):
        assert answer is not None and answer.reference == f"{name}@1"
        assert answer.digest == stock.resolve(name).digest
    typed = alone(stock, encoder, rows, "predict")
    assert [answer.value.label for answer in answers if answer] == [each.label for each in typed]
    first = pool.predict(rows[:1])[0]
    assert first is not None and set(first.value.scores) == {"bad", "good"}


def test_versions_that_embed_and_versions_that_classify_embed_together(stock: Any, encoder: Path) -> None:
    pool, rows = ahf.pool(encoder, registry=stock), pairs([*TONES, "t/vectors", *APART])
    for options in ({}, {"pooling": "first", "layer": 1}, {"pooling": "max", "normalize": True}, {"pooling": "last"}):
        made = pool.embed(rows, **options)
        assert far(made.vectors, alone(stock, encoder, rows, "embed", **options)) < CLOSE
    assert made.references == tuple(f"{name}@1" for _, name in rows)
    assert np.asarray(made).shape == (len(rows), 32) == (len(made), 32)
    assert made.vectors.dtype == np.float32


def test_writers_write_in_one_batch_what_each_writes_alone(stock: Any, decoder: Path) -> None:
    names = ["t/writer-0", "t/writer-1", "t/prompted", "t/writer-2"]
    pool, rows = ahf.pool(decoder, registry=stock), pairs(names)
    steps: list[int] = []
    made = pool.generate(rows, max_new_tokens=8)
    assert [each.value for each in made if each] == alone(stock, decoder, rows, "generate", max_new_tokens=8)
    pool._loader._trunks.copy().popitem()[1].model.register_forward_hook(lambda *_: steps.append(1))
    pool.generate(pairs(names[:2]), max_new_tokens=4)
    assert len(steps) <= 4, "prompts of two adapters must be written in one batch"
    drawn = {"max_new_tokens": 6, "temperature": 0.8, "seed": 5}
    texts = [each.value for each in pool.generate(TEXTS, "t/writer-1", **drawn) if each]
    assert texts == ahf.load("t/writer-1", base=decoder, registry=stock).generate(TEXTS, **drawn)
    with pytest.raises(ahf.BadRecipe, match="t/said@1 does not write text"):
        pool.generate(TEXTS, "t/said")


def test_prompts_that_a_base_puts_in_another_order_are_written_one_adapter_at_a_time(stock: Any, decoder: Path) -> None:
    """As with beams, which copy rows, and in a layer that loses their order."""
    pool, rows = ahf.pool(decoder, registry=stock), pairs(["t/writer-0", "t/writer-1"])
    expected = [each.value for each in pool.generate(rows, max_new_tokens=5) if each]
    trunk = pool._loader._trunks.copy().popitem()[1]
    model: Any = trunk.model

    class Flat(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.inner(states.reshape(1, -1, states.shape[-1])).view(*states.shape[:-1], -1)

    attention = model.model.layers[0].self_attn
    attention.q_proj = Flat(attention.q_proj)
    assert [each.value for each in pool.generate(rows, max_new_tokens=5) if each] == expected
    assert trunk.loses_rows
    trunk.loses_rows, model.generation_config.num_beams = False, 2
    made = [each.value for each in pool.generate(rows, max_new_tokens=5) if each]
    apart = [pool.generate([prompt], name, max_new_tokens=5)[0] for prompt, name in rows]
    assert made == [each.value for each in apart if each] != expected
    assert not trunk.loses_rows, "beams are of the call, not of the base"


def test_a_base_that_puts_tokens_first_is_computed_one_adapter_at_a_time_also_where_it_could_pass(
    save_adapter: Callable[..., Version], encoder: Path, tmp_path: Path
) -> None:
    """Eight rows of eight tokens have the same sizes in either order, so that only another batch can tell."""
    from transformers import XLNetConfig, XLNetModel

    base, registry = tmp_path / "base", ahf.Registry(tmp_path / "home")
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    torch.manual_seed(0)
    sizes = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 32, "pad_token_id": 0}
    XLNetModel(XLNetConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    for name in ("t/a", "t/b"):
        save_adapter(name, base, registry, task="FEATURE_EXTRACTION", target_modules=["layer_1", "layer_2"])
    rows = list(itertools.product(["abcdef", "ghijkl", "mnopqr", "stuvwx"], ["t/a", "t/b"]))
    assert len(rows) == len(tokenizer(rows[0][0])["input_ids"])
    pool = ahf.pool(base, registry=registry)
    assert far(pool.embed(rows).vectors, alone(registry, base, rows, "embed")) < CLOSE


def test_a_whole_module_brings_no_place_for_other_versions_changes(
    save_adapter: Callable[..., Version], encoder: Path, tmp_path: Path
) -> None:
    registry = ahf.Registry(tmp_path / "home")
    save_adapter("t/layers", encoder, registry)
    save_adapter("t/module", encoder, registry, target_modules=["query"], modules_to_save=["classifier", "pooler"])
    pool, rows = ahf.pool(encoder, registry=registry), pairs(["t/layers", "t/module"])
    pool.pin("t/layers")  # first, so that the layers within the module take its changes already
    assert far(pool.logits(rows), alone(registry, encoder, rows, "logits")) < CLOSE
    assert not any(trunk.loses_rows for trunk in pool._loader._trunks.values())


def test_classifiers_and_writers_of_one_decoder_share_it(stock: Any, decoder: Path) -> None:
    pool, rows = ahf.pool(decoder, registry=stock), pairs(["t/said", "t/writer-0", "t/writer-1", "t/prompted"])
    assert far(pool.logits(rows), alone(stock, decoder, rows, "logits")) < CLOSE
    assert len(pool._loader._trunks) == 1
    assert {each.reference: bool(each.apart) for each in pool.resident()} == {
        "t/said@1": False,
        "t/writer-0@1": False,
        "t/writer-1@1": False,
        "t/prompted@1": True,
    }


def test_what_is_no_low_rank_sum_has_a_private_copy_and_says_why(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock)
    pool.pin(*APART, TONES[0])
    reasons = {each.reference: each.apart for each in pool.resident()}
    assert "use_dora" in str(reasons["t/dora@1"])
    assert "bias" in str(reasons["t/biases@1"])
    assert "adds no low-rank" in str(reasons["t/scales@1"])
    assert reasons["t/tone-0@1"] is None
    size = sum(p.numel() * p.element_size() for p in AutoModel.from_pretrained(encoder).parameters())
    manifests = {name: len(stock.resolve(name).manifest_bytes) for name in ("t/dora@1", "t/tone-0@1")}
    taken = {each.reference: each.bytes for each in pool.resident()}
    weights = {name: taken[name] - manifest for name, manifest in manifests.items()}
    assert weights["t/dora@1"] > size > 10 * weights["t/tone-0@1"] > 0
    assert pool.stats().bytes == sum(taken.values())


@pytest.mark.parametrize("given", ["bare", "whole", "decoder"])
def test_a_model_in_memory_is_a_base_too(stock: Any, encoder: Path, decoder: Path, given: str) -> None:
    folder, names = (decoder, ["t/writer-0", "t/said"]) if given == "decoder" else (encoder, [*TONES, "t/dora"])
    classes: dict[str, Any] = {
        "bare": AutoModel,
        "whole": AutoModelForSequenceClassification,
        "decoder": AutoModelForCausalLM,
    }
    read = classes[given]
    model, tokenizer = read.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pool = ahf.pool(model, registry=stock, tokenizer=tokenizer if given == "whole" else None)
    rows = pairs(names)
    assert far(pool.logits(rows), alone(stock, folder, rows, "logits")) < CLOSE
    with pytest.raises(ahf.WrongBase, match="belongs to a pool"):
        ahf.load(names[0], base=model, tokenizer=tokenizer, registry=stock)
    assert far(pool.logits(rows), alone(stock, folder, rows, "logits")) < CLOSE


def test_a_model_that_carries_adapters_or_has_no_tokenizer_is_no_base(stock: Any, encoder: Path) -> None:
    bare, tokenizer = AutoModel.from_pretrained(encoder), AutoTokenizer.from_pretrained(encoder)
    wrapped = ahf.load(TONES[0], base=bare, tokenizer=tokenizer, registry=stock).model
    for model in (wrapped, bare):
        with pytest.raises(ahf.WrongBase, match="carries adapters: give the bare base"):
            ahf.pool(model, registry=stock)
    alone_in_memory = AutoModel.from_pretrained(encoder)
    alone_in_memory.config.name_or_path = ""
    with pytest.raises(ahf.BadRecipe, match="give tokenizer="):
        ahf.pool(alone_in_memory, registry=stock).predict(TEXTS, TONES[0])


def test_the_base_is_what_it_was(stock: Any, encoder: Path) -> None:
    model = AutoModel.from_pretrained(encoder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pool = ahf.pool(model, registry=stock)
    pool.predict(pairs(TONES))
    pool.embed(pairs(TONES))
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert not any("lora" in name for name, _ in model.named_modules())


def test_a_layer_that_loses_the_order_of_rows_is_computed_one_adapter_at_a_time(
    stock: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a mixture of experts, whose layers get some rows' tokens in an order of their own."""

    class Gathered(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            flat = states.reshape(-1, states.shape[-1])
            chosen = torch.arange(len(flat) - 1, -1, -1)[: len(flat) - 1]  # most tokens, from the last to the first
            made = torch.empty(*flat.shape[:-1], self.inner.out_features)  # type: ignore[arg-type]
            made[chosen], made[:1] = self.inner(flat[chosen]), self.inner(flat[:1])
            return made.view(*states.shape[:-1], -1)

    pool, rows = ahf.pool(encoder, registry=stock), pairs(TONES)
    expected = pool.logits(rows)
    trunk = next(iter(pool._loader._trunks.values()))
    layer: Any = trunk.backbone.encoder.layer[0].intermediate  # type: ignore[union-attr,index]
    layer.dense = Gathered(layer.dense)
    assert far(pool.logits(rows), expected) < CLOSE
    assert trunk.loses_rows


def test_rows_of_a_long_table_come_back_in_order_whatever_the_batch(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock)
    rows = [(f"Firm {n}: profit {'rose ' * (n % 9)}", TONES[n * 7 % 6]) for n in range(97)]
    expected = alone(stock, encoder, rows, "logits")
    for size in (1, 5, 64, 200):
        assert far(pool.logits(rows, batch_size=size), expected) < CLOSE
    assert pool.predict([]) == [] and len(pool.embed([])) == 0


def test_mean_pooling_and_numbers_beside_the_text_mix_with_plain_heads(
    save_adapter: Callable[..., Version], tmp_path: Path
) -> None:
    """Heads that change what they read of the backbone, or read more than a text, see their own rows alone."""
    from adapterhub_fin.testing.bench import Bench

    method = {
        "name": "lora",
        "rank": 4,
        "targets": ["query", "value", "dense"],
    }  # the pooler's too, which is read again
    bench = Bench(tmp_path, "encoder", method, {"name": "classify", "pooling": "mean"})
    base, registry = bench.base(), bench.registry
    bench.train("mean", epochs=1)
    ahf.train(bench.recipe("plain", epochs=1) | {"head": {"name": "regress"}}, registry=registry)
    rows = [
        {"text": f"Firm {n}: profit {'rose' if n % 2 else 'fell'}.", "move": n % 2 - 0.5, "first": n / 9, "second": 1.0}
        for n in range(40)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    columns = {"target": "move", "features": ["first", "second"]}
    fused = bench.recipe("fused", epochs=1) | {"head": {"name": "fusion", "answer": "number"}}
    ahf.train(fused | {"corpus": {"name": "table", "path": str(tmp_path / "rows.jsonl"), **columns}}, registry=registry)
    names = ["contract/mean", "contract/plain", "contract/fused"]
    rows = [{"text": row["text"], "features": [row["first"], row["second"]]} for row in rows]
    mixed = list(itertools.product(rows[:5], names))
    pool = ahf.pool(base, registry=registry)
    assert far(pool.logits(mixed), alone(registry, base, mixed, "logits")) < CLOSE
    assert not any(each.apart for each in pool.resident())
    assert not any(trunk.loses_rows for trunk in pool._loader._trunks.values())


def test_a_head_that_asks_its_backbone_for_more_is_answered_by_a_pass_of_its_own(
    save_adapter: Callable[..., Version], encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin_plugins.heads.classify import Classify

    def forward(self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, **other: Any) -> Any:
        states = self.bert(input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        return SequenceClassifierOutput(logits=self.classifier(states[1][:, 0]))

    def finish_model(head: Any, model: Any, missing: Sequence[str]) -> Sequence[str]:
        model.__class__ = type("First", (type(model),), {"forward": forward})
        return missing

    registry = ahf.Registry(tmp_path / "home")
    for number in (1, 2):
        save_adapter(f"t/a{number}", encoder, registry)
    plain = ahf.pool(encoder, registry=registry).logits(pairs(["t/a1", "t/a2"]))
    monkeypatch.setattr(Classify, "finish_model", finish_model)
    pool, rows = ahf.pool(encoder, registry=registry), pairs(["t/a1", "t/a2"])
    made = pool.logits(rows)
    assert far(made, alone(registry, encoder, rows, "logits")) < CLOSE < far(made, plain)


def test_the_base_is_compared_once_for_all_versions(stock: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    check_base = trunk_module.check_base
    monkeypatch.setattr(trunk_module, "check_base", lambda *a, **k: (calls.append(a), check_base(*a, **k))[1])
    ahf.pool(encoder, registry=stock).predict(pairs(TONES))
    assert len(calls) == 1
