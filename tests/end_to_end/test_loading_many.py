"""Loading one more adapter onto a shared model costs the same however many are there, and refuses as much."""

from __future__ import annotations

import copy
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

import adapterhub_fin as ahf
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.plugin.model_parts import bare
from adapterhub_fin.plugin.other_adapters import hidden, loaded_adapters, own_modules
from adapterhub_fin_registry import Registry

CASES = int(os.environ.get("AHF_CASES", "20"))
TEXTS = ["Arlo: profit rose.", "Brent: profit fell by 3 %."]
NUMBER = 10
# By the kind of version: LoRA of another reach and size each, so that no two adapters on one model are alike.
PLANS: list[dict[str, Any]] = [
    {"r": 2, "target_modules": ["query", "value"]},
    {"r": 4, "target_modules": ["query", "value", "intermediate.dense"], "use_rslora": True, "lora_dropout": 0.2},
    {"r": 3, "target_modules": ["word_embeddings", "key"], "rank_pattern": {"key": 1}},
    {"r": 2, "target_modules": ["dense"], "alpha_pattern": {"output.dense": 7}, "modules_to_save": ["pooler"]},
]


def classifier(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)


@pytest.fixture(scope="module")
def stock(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Versions t/a0 to t/a9 of one configuration, and t/b0 to t/b3 of as many."""
    root = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        plans = {f"t/a{number}": PLANS[0] for number in range(NUMBER)}
        plans |= {f"t/b{number}": plan for number, plan in enumerate(PLANS)}
        for seed, (name, plan) in enumerate(plans.items()):
            model: Any = get_peft_model(classifier(encoder), LoraConfig(task_type="SEQ_CLS", **plan))
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
            tokenizer = AutoTokenizer.from_pretrained(encoder)
            ahf.save(model, name, base=encoder, labels=["x", "y", "z"], tokenizer=tokenizer, registry=registry)
        yield registry


def shared(encoder: Path, kind: str) -> Any:
    """A model to share: a bare backbone, or one with a head, whose PeftModel every load extends."""
    return AutoModel.from_pretrained(encoder) if kind == "bare" else classifier(encoder)


def calls(work: Callable[[], Any]) -> int:
    """Count the calls of Python and C functions, which is the same on every machine."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # collecting calls finalizers, of whatever tests ran before
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("kind", ["bare", "headed"])
def test_the_tenth_load_and_its_answers_take_no_more_calls_than_the_third(
    stock: Registry, encoder: Path, kind: str
) -> None:
    model, tokenizer = shared(encoder, kind), AutoTokenizer.from_pretrained(encoder)
    adapters: list[Adapter] = []

    def load(name: str) -> None:
        adapters.append(ahf.load(name, base=model, tokenizer=tokenizer, registry=stock))

    loads, same, switched = [], [], []
    for number in range(NUMBER):
        loads.append(calls(lambda number=number: load(f"t/a{number}")))  # type: ignore[misc]
        adapters[0].predict(TEXTS)
        same.append(calls(lambda: adapters[0].predict(TEXTS)))
        switched.append(calls(lambda: adapters[-1].predict(TEXTS)))
    assert loads[-1] < 1.1 * loads[2] and loads[-1] < loads[1]
    assert same[-1] < 1.05 * same[2] and switched[-1] < 1.1 * switched[2]


@pytest.mark.parametrize("kind", ["bare", "headed"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 0], [3, 2, 1, 0, 3], [1, 3, 1, 2, 0]])
def test_adapters_of_other_reach_and_rank_answer_as_each_does_alone(
    stock: Registry, encoder: Path, kind: str, order: list[int]
) -> None:
    model, tokenizer = shared(encoder, kind), AutoTokenizer.from_pretrained(encoder)
    alone = [ahf.load(f"t/b{number}", base=encoder, registry=stock) for number in range(4)]
    expected = [(adapter.logits(TEXTS), adapter.embed(TEXTS)) for adapter in alone]
    adapters: list[tuple[int, Adapter]] = []
    for number in order:
        name = f"t/b{number}"
        adapters.append((number, ahf.load(name, base=model, tokenizer=tokenizer, registry=stock)))
        for index, adapter in adapters + adapters[::-1]:
            assert torch.equal(adapter.logits(TEXTS), expected[index][0])
            assert (adapter.embed(TEXTS) == expected[index][1]).all()


@pytest.mark.parametrize("kind", ["bare", "headed"])
def test_what_does_not_fit_leaves_the_others_as_they_were(
    stock: Registry, encoder: Path, kind: str, tmp_path: Path
) -> None:
    model, tokenizer = shared(encoder, kind), AutoTokenizer.from_pretrained(encoder)
    adapters = [ahf.load(f"t/a{number}", base=model, tokenizer=tokenizer, registry=stock) for number in range(3)]
    expected = [adapter.logits(TEXTS) for adapter in adapters]
    state = {name: value.clone() for name, value in adapters[0].model.state_dict().items()}
    wider: Any = get_peft_model(classifier(encoder), LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    folder = tmp_path / "wider"
    wider.save_pretrained(folder)
    config = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(config.replace('"r": 2', '"r": 3'))
    ahf.import_folder(folder, "t/wider", labels=["x", "y", "z"], base=encoder, registry=stock)
    for _ in range(2):
        with pytest.raises(ahf.WrongTensors, match="does not fit this model"):
            ahf.load("t/wider@1", base=model, tokenizer=tokenizer, registry=stock)
        for adapter, logits in zip(adapters, expected, strict=True):
            assert torch.equal(adapter.logits(TEXTS), logits)
    after = adapters[0].model.state_dict()
    assert list(after) == list(state) and all(torch.equal(after[name], value) for name, value in state.items())


def test_hidden_adapters_come_back_with_what_was_added(stock: Registry, encoder: Path) -> None:
    model, tokenizer = classifier(encoder), AutoTokenizer.from_pretrained(encoder)
    names = [f"t/b{number}" for number in range(3)]
    adapters = [ahf.load(name, base=model, tokenizer=tokenizer, registry=stock) for name in names]
    outer: Any = adapters[0].model
    first, second, third = (adapter.adapter_name for adapter in adapters)
    assert loaded_adapters(outer) == {first, second, third}
    before = [name for name, _ in outer.named_parameters()]
    layer = outer.get_submodule("base_model.model.bert.encoder.layer.0.attention.self.query")
    with pytest.raises(RuntimeError, match="inside"), hidden(outer, {third}):  # it was the active one
        raise RuntimeError("inside")
    head = outer.get_submodule("base_model.model.classifier")
    assert head.active_adapters == [third] and [name for name, _ in outer.named_parameters()] == before
    with hidden(outer, {first, third}):
        inside = [name for name, _ in outer.named_parameters()]
        assert not any(each in name for each in (first, third) for name in inside)
        assert sorted(inside) == sorted(n for n in before if first not in n and third not in n)
        layer.lora_A["added"] = nn.Linear(2, 2)
    assert list(layer.lora_A) == [first, second, "added"]
    del layer.lora_A["added"]
    assert [name for name, _ in outer.named_parameters()] == before
    walked = set(own_modules(outer, second))
    for path, module in outer.named_modules():
        assert (module in walked) == (not {first, third} & set(path.split(".")))


def test_modes_come_back_where_an_answer_switched_them(stock: Registry, encoder: Path) -> None:
    model, tokenizer = AutoModel.from_pretrained(encoder), AutoTokenizer.from_pretrained(encoder)
    model.train()
    adapters = [ahf.load(f"t/b{number}", base=model, tokenizer=tokenizer, registry=stock) for number in (1, 0)]
    alone = ahf.load("t/b1", base=encoder, registry=stock).logits(TEXTS)
    model.encoder.layer[0].eval()
    before = {name: module.training for name, module in adapters[0].model.named_modules()}
    assert len(set(before.values())) == 2
    assert torch.equal(adapters[0].logits(TEXTS), alone), "neither the base's dropout nor the adapter's own"
    assert {name: module.training for name, module in adapters[0].model.named_modules()} == before


# Changes of a shared model between two loads.


CHANGES = ("write", "write", "row", "replace", "reshape", "resize", "type", "config", "layers", "none")
SETTINGS = (("hidden_act", "relu"), ("layer_norm_eps", 1e-3), ("use_cache", False))
Parameters = dict[str, Tensor]


def write(parameter: Tensor, way: str, indices: list[int], value: float) -> None:
    """Change a few elements of a parameter in one of the ways that its user has."""
    if way == "no_grad":
        with torch.no_grad():
            parameter.view(-1)[indices] = value
    elif way == "inference":
        with torch.inference_mode():
            parameter.view(-1)[indices] = value
    elif way == "data":
        parameter.data.view(-1)[indices] = value
    else:
        parameter.detach().numpy().reshape(-1)[indices] = value


def owner(model: nn.Module, name: str) -> tuple[Any, str]:
    module, _, last = name.rpartition(".")
    for part in module.split("."):
        model = bare(getattr(model, part))
    return model, last


def change_model(model: Any, data: st.DataObject) -> None:
    parameters: Parameters = dict(fingerprint.base_parameters(model))
    name = data.draw(st.sampled_from(sorted(parameters)), "parameter")
    parameter = parameters[name]
    kind = data.draw(st.sampled_from(CHANGES))
    if kind == "write":
        anywhere = st.integers(0, parameter.numel() - 1)
        probed = st.sampled_from(fingerprint.probed_elements(name, parameter.numel()))
        indices = data.draw(st.lists(st.one_of(anywhere, probed), min_size=1, max_size=3), "elements")
        way = data.draw(st.sampled_from(["no_grad", "inference", "data", "numpy"]))
        write(parameter, way, indices, data.draw(st.sampled_from([0.0, 3.5, float("nan")])))
    elif kind == "row":
        table = parameters["embeddings.word_embeddings.weight"]
        row, width = data.draw(st.integers(0, len(table) - 1)), table.shape[1]
        way = data.draw(st.sampled_from(["no_grad", "inference", "data", "numpy"]))
        write(table, way, list(range(row * width, row * width + width)), 0.125)
    elif kind == "replace":
        module, last = owner(model, name)
        by = data.draw(st.sampled_from([0.0, 0.5]), "added")
        setattr(module, last, nn.Parameter(parameter.detach() + by))
    elif kind == "reshape":
        module, last = owner(model, name)
        setattr(module, last, nn.Parameter(parameter.detach().reshape(1, *parameter.shape)))
    elif kind == "resize":
        rows = len(parameters["embeddings.word_embeddings.weight"])
        model.resize_token_embeddings(rows + data.draw(st.integers(-3, 3)))
    elif kind == "type":
        model.to(data.draw(st.sampled_from([torch.bfloat16, torch.float64, torch.float32])))
    elif kind == "config":
        key, value = data.draw(st.sampled_from(SETTINGS))
        setattr(model.config, key, value)
    elif kind == "layers":
        model.encoder.layer = model.encoder.layer[:1]


def change_tokenizer(tokenizer: Any, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["none", "none", "none", "add", "special", "normalizer", "vocabulary", "cut"]))
    if kind == "add":
        tokenizer.add_tokens([data.draw(st.sampled_from(["EBITDA", "a", "Zürich"]))])
    elif kind == "special":
        tokenizer.cls_token = "[UNK]"
    elif kind == "normalizer":
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    elif kind == "vocabulary":  # as long as it was
        from tokenizers import models

        vocabulary = tokenizer.get_vocab()
        one, other = data.draw(st.sampled_from([("~", "}"), ("a", "b"), ("Ġ", "!")]))
        vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
        tokenizer.backend_tokenizer.model = models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]")
    elif kind == "cut":
        tokenizer("text", truncation=True, max_length=data.draw(st.integers(1, 9)))  # changes no answer


def outcome(model: PreTrainedModel, tokenizer: Any, registry: Registry) -> str:
    try:
        ahf.load("t/a1", base=model, tokenizer=tokenizer, registry=registry)
    except ahf.WrongBase as error:
        return str(error)
    return "loaded"


@given(st.data())
@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],  # an example takes half a second, and is short enough to read
)
def test_a_change_between_two_loads_is_refused_just_as_by_a_new_fingerprint(
    stock: Registry, encoder: Path, data: st.DataObject
) -> None:
    """A copy of the model and of its tokenizer is not remembered, so that it is looked at anew."""
    model, tokenizer = AutoModel.from_pretrained(encoder), AutoTokenizer.from_pretrained(encoder)
    ahf.load("t/a0", base=model, tokenizer=tokenizer, registry=stock)
    ahf.load("t/a2", base=model, tokenizer=tokenizer, registry=stock)
    for _ in range(2):
        change_model(model, data)
        change_tokenizer(tokenizer, data)
        expected = outcome(copy.deepcopy(model), copy.deepcopy(tokenizer), stock)
        assert outcome(model, tokenizer, stock) == expected
