"""What is read is what PEFT computes; and what is merged alone with weight 1 comes back: type by type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import adapterhub_fin as ahf
from adapterhub_fin.engine.merging.changes import open_changes
from adapterhub_fin.engine.peft import lora_config
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS
from adapterhub_fin.plugin.descriptions import Merger
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin_registry.model.manifest import Manifest, Method

Saved = Callable[..., Path]


class Mixed(nn.Module):
    """One layer of each kind that LoRA reaches, in float64, so that 1e-6 is far above rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.line = nn.Conv1d(6, 5, 3, padding=1)
        self.plane = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.point = nn.Conv2d(4, 3, 1)
        self.deep = nn.ModuleList([nn.Linear(3, 7), nn.Linear(7, 7, bias=False)])
        self.wrap = nn.ModuleDict({"deep": nn.ModuleDict({"1": nn.Linear(7, 7)})})  # a name within a name
        self.turned = Conv1D(7, 7)  # as GPT-2 has it: out, in; its weight is (in, out)
        self.classifier = nn.Linear(7, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.line(self.words(tokens).transpose(1, 2)).tanh()
        seen = self.point(self.plane(seen[:, None]).tanh()).mean((2, 3))
        for layer in self.deep:
            seen = layer(seen).tanh()
        seen = self.turned(self.wrap["deep"]["1"](seen).tanh()).tanh()
        answer: Tensor = self.classifier(seen)
        return answer


TOKENS = torch.tensor([[1, 4, 2, 7, 9, 0], [3, 3, 10, 5, 8, 6]])
ALL = ["words", "line", "plane", "point", "deep.0", "deep.1"]
LINEAR = ["deep.0", "deep.1"]
HEADED = {"target_modules": LINEAR, "modules_to_save": ["classifier"]}
PLANS: dict[str, Any] = {
    "plain": LoraConfig(r=2, lora_alpha=5, target_modules=LINEAR),
    "head": LoraConfig(r=2, lora_alpha=5, **HEADED),
    "rslora": LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=LINEAR),
    "rslora head": LoraConfig(r=4, lora_alpha=3, use_rslora=True, **HEADED),
    "patterns": LoraConfig(
        r=2,
        lora_alpha=4,
        rank_pattern={"^deep.1": 3, "deep.1": 1},
        alpha_pattern={"deep.[01]": 7, "deep.1": 9},
        target_modules=LINEAR,
    ),
    "rslora patterns": LoraConfig(
        r=2, lora_alpha=4, use_rslora=True, rank_pattern={"^deep.1": 3}, alpha_pattern={"1": 7}, target_modules=ALL
    ),
    "bias": LoraConfig(r=2, lora_alpha=5, lora_bias=True, target_modules=["deep.0", "line", "plane"]),
    "embedding": LoraConfig(r=2, lora_alpha=5, target_modules=["words", "deep.0"]),
    "convolutions": LoraConfig(r=2, lora_alpha=5, target_modules=["line", "plane", "point"]),
    "alike": LoraConfig(r=2, lora_alpha=5, target_modules=r"deep\.1"),  # and not wrap.deep.1
    "conv1d": LoraConfig(r=2, lora_alpha=5, fan_in_fan_out=True, target_modules=["turned"]),
    "adalora": AdaLoraConfig(init_r=4, target_r=2, lora_alpha=5, total_step=9, **HEADED),
}


def base() -> Any:
    torch.manual_seed(0)
    return Mixed().double().eval()


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """The folder of an adapter that PEFT made by a plan, all of its values random."""

    def make(plan: Any, dtype: torch.dtype = torch.float64) -> Path:
        torch.manual_seed(1)
        model = get_peft_model(base(), plan, autocast_adapter_dtype=False)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and "ranknum" not in name:
                    parameter.copy_(torch.randn_like(parameter) / 3)
        if plan.peft_type == "ADALORA":
            kept = {f"{m}.lora_E": [True, False, True, m == "deep.0"] for m in LINEAR}
            model.peft_config["default"].rank_pattern = kept
        folder = tmp_path / f"theirs-{len(list(tmp_path.iterdir()))}"
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink()
        tensors = {name: value.to(dtype) for name, value in load_file(folder / WEIGHTS).items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        return folder

    return make


def loaded(folder: Path) -> Any:
    return PeftModel.from_pretrained(base(), str(folder), autocast_adapter_dtype=False).eval()


def added(folder: Path) -> dict[str, Tensor]:
    """What PEFT itself adds to each of the base's parameters, by folding the adapter in."""
    before, after = dict(base().named_parameters()), dict(loaded(folder).merge_and_unload().named_parameters())
    return {name: after[name].detach() - before[name].detach() for name in after}


def method(plan: Any) -> Method:
    if plan.peft_type == "ADALORA":
        return Method(name="adalora", options={"initial_rank": plan.init_r, "target_rank": plan.target_r})
    return Method(name="lora")


@pytest.mark.parametrize("kind", PLANS)
def test_what_is_read_is_what_peft_adds(kind: str, saved: Saved) -> None:
    folder = saved(PLANS[kind])
    found, expected = open_changes(folder, "it", method=method(PLANS[kind])), added(folder)
    whole = {
        name: value - dict(base().named_parameters())[name]
        for name in found.full_shapes
        for value in [found.values(name)]
    }
    assert (found.parameters.keys() | whole.keys()) == {name for name, change in expected.items() if change.any()}
    for name, parameter in found.parameters.items():
        wanted = expected[name].T if parameter.module == "turned" else expected[name]
        assert parameter.shape == tuple(wanted.shape)
        assert torch.allclose(found.change(name).dense().reshape(parameter.shape), wanted, rtol=1e-6, atol=1e-12), name
    assert all(torch.allclose(whole[name], expected[name]) for name in whole)


def stored(folder: Path, plan: Any, name: str = "acme/it") -> Any:
    config = json.loads((folder / CONFIG).read_text())
    day = {"input": "base", "at": "2020-01-01T00:00:00Z", "kind": "asserted"}
    manifest = Manifest.model_validate(
        {
            "method": method(plan).model_dump(),
            "base": {"repository": "acme/mixed", "fingerprint": "declared"},
            "knowledge": {"inputs": [day], "end": day["at"]},
            "head": {"name": "custom", "modules_to_save": ["classifier"]} if config["modules_to_save"] else None,
        }
    )
    return ahf.Registry().add(folder, manifest, name=name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", PLANS)
def test_one_adapter_merged_with_weight_one_comes_back(kind: str, dtype: torch.dtype, saved: Saved) -> None:
    version = stored(saved(PLANS[kind], dtype), PLANS[kind])
    merged = ahf.merge([version.reference], weights=[1], into="acme/same").version
    assert merged is not None
    before, after = added(version.files), added(merged.files)
    for name, wanted in before.items():
        assert (after[name] - wanted).norm() <= 1e-6 * wanted.norm(), name
    with torch.no_grad():
        plain, expected, answer = (model(TOKENS) for model in (base(), loaded(version.files), loaded(merged.files)))
    assert (answer - expected).norm() <= 1e-6 * (expected - plain).norm() and (expected - plain).norm() > 1e-4


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        ("plain", "use_dora", True, "use_dora, and DoRA rescales"),
        ("plain", "init_lora_weights", "pissa_niter_4", "init_lora_weights to pissa_niter_4"),
        ("plain", "bias", "all", "bias to all"),
        ("plain", "alora_invocation_tokens", [3], "alora_invocation_tokens"),
        ("plain", "layer_replication", [[0, 2], [1, 2]], "layer_replication"),
        ("adalora", "bias", "all", "bias to all"),
        ("adalora", "trainable_token_indices", [3, 4], "trainable_token_indices"),
    ],
)
def test_what_is_more_than_matrices_is_refused_by_name(
    kind: str, key: str, value: Any, said: str, saved: Saved
) -> None:
    folder = saved(PLANS[kind])
    rewrite(folder, {key: value})
    with pytest.raises(ahf.BadMerge, match=f"acme/it can't be merged: it sets {said}"):
        open_changes(folder, "acme/it", method=method(PLANS[kind]))


def rewrite(folder: Path, changes: dict[str, Any]) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def retype(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / WEIGHTS, {"format": "pt"})


STRAY = {
    "deep.0.bias": "no part of LoRA",  # as `bias: all` stores it, in a layer that is adapted too
    "words.token_adapter.trainable_tokens_delta": "trained tokens",
    "deep.0.lora_magnitude_vector": "DoRA's magnitude",
}


@pytest.mark.parametrize("name", STRAY)
@pytest.mark.parametrize("kind", ["plain", "adalora"])
def test_a_tensor_that_nothing_accounts_for_is_refused(kind: str, name: str, saved: Saved) -> None:
    """Whatever the configuration says, nothing of the file is left behind."""
    folder = saved(PLANS[kind])
    retype(folder, load_file(folder / WEIGHTS) | {f"base_model.model.{name}": torch.ones(7)})
    with pytest.raises(ahf.BadMerge, match=f"acme/it can't be merged: base_model.model.{name} is {STRAY[name]}"):
        open_changes(folder, "acme/it", method=method(PLANS[kind]))


@pytest.mark.parametrize("kind", ["head", "adalora"])
def test_a_file_without_a_change_is_told(kind: str, saved: Saved) -> None:
    folder = saved(PLANS[kind])
    retype(folder, {name: value for name, value in load_file(folder / WEIGHTS).items() if "lora" not in name})
    with pytest.raises(ahf.NotAnAdapter, match="acme/it changes no layer"):
        open_changes(folder, "acme/it", method=method(PLANS[kind]))


@pytest.mark.parametrize("part", ["A", "B", "E"])
@pytest.mark.parametrize("lost", [True, False])
def test_an_adalora_whose_parts_do_not_fit_is_told(part: str, lost: bool, saved: Saved) -> None:
    folder = saved(PLANS["adalora"])
    tensors = load_file(folder / WEIGHTS)
    name = f"base_model.model.deep.0.lora_{part}"
    given = tensors.pop(name)
    retype(folder, tensors if lost else tensors | {name: given.repeat(2, 2)})
    said = f"has no {name}: save" if lost else "has A, B and E of base_model.model.deep.0 in the shapes"
    with pytest.raises(ahf.NotAnAdapter, match=f"acme/it can't be read as low-rank matrices: .* {said}"):
        open_changes(folder, "acme/it", method=method(PLANS["adalora"]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init_r": 0}, "init_r is 0, which isn't a rank"),
        ({"init_r": None}, "init_r is None, which isn't a rank"),
        ({"lora_alpha": "five"}, "lora_alpha is five, which isn't a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan, which isn't a number"),
    ],
)
def test_an_adalora_whose_scale_is_none_is_told(changes: dict[str, Any], said: str, saved: Saved) -> None:
    folder = saved(PLANS["adalora"])
    rewrite(folder, changes)
    with pytest.raises(
        ahf.NotAnAdapter, match=f"acme/it can't be read as low-rank matrices: adapter_config.json says that {said}"
    ):
        open_changes(folder, "acme/it", method=method(PLANS["adalora"]))
    with pytest.raises(ahf.NotAnAdapter, match=said):
        ahf.import_folder(folder, "acme/it", base="acme/base")


@pytest.mark.parametrize("kind", ["alike", "plain", "both"])
def test_no_other_layer_is_adapted_whose_name_ends_alike(kind: str, saved: Saved) -> None:
    kinds = ["alike", "plain"] if kind == "both" else [kind]
    parents = [stored(saved(PLANS[each]), PLANS[each], f"acme/{each}") for each in kinds]
    version = ahf.merge([each.reference for each in parents], into="acme/same").version
    assert version is not None

    def adapted(folder: Path) -> set[str]:
        return {name.partition(".lora_A")[0] for name, _ in loaded(folder).named_parameters() if ".lora_A" in name}

    assert adapted(version.files) == {name for each in parents for name in adapted(each.files)}


def test_every_merger_gives_what_peft_loads_on_every_kind_of_layer(saved: Saved) -> None:
    one, other = (PLANS[kind] for kind in ("convolutions", "bias"))
    pair = [stored(saved(plan), plan, f"acme/{name}").reference for name, plan in (("one", one), ("other", other))]
    for using in extensions().all(Merger):
        made = ahf.merge(pair, using=using, into="acme/both").version
        assert made is not None and bool(loaded(made.files)(TOKENS).isfinite().all()), using


def test_what_one_lora_has_no_place_for_is_refused(saved: Saved) -> None:
    kinds = ("embedding", "bias", "head")
    pair = [stored(saved(PLANS[kind]), PLANS[kind], f"acme/{kind}").reference for kind in kinds]
    for how in ({"into": "acme/both"}, {"dry_run": True}):
        with pytest.raises(ahf.BadMerge, match="PEFT has no lora_bias with an embedding"):
            ahf.merge(pair[:2], **how)  # type: ignore[arg-type]
    with pytest.raises(ahf.BadMerge, match="acme/embedding@1 has no head and acme/head@1 custom"):
        ahf.merge([pair[0], pair[2]], into="acme/both")


def test_outputs_without_labels_are_not_averaged(saved: Saved) -> None:
    pair = [
        stored(saved(PLANS[kind]), PLANS[kind], f"acme/{kind.replace(' ', '-')}").reference
        for kind in ("head", "rslora head")
    ]
    with pytest.raises(ahf.BadMerge, match="neither records what its outputs mean"):
        ahf.merge(pair, into="acme/both")
    assert ahf.merge(pair, into="acme/both", head_from=pair[1]).head_from == pair[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 3}, "says that deep.0 has rank 3, and its factors have the shapes"),
        ({"lora_alpha": "five"}, "lora_alpha of deep.0 is 'five'"),
        ({"lora_alpha": float("inf")}, "lora_alpha of deep.0 is 'inf'"),
        ({"lora_alpha": 10**400}, "lora_alpha of deep.0 is '1000"),
        ({"lora_alpha": 1e308, "alpha_pattern": {}, "r": 1e-9}, "whose ratio is no finite number"),
        ({"rank_pattern": {"deep(": 2}}, "the pattern 'deep(' is no regular expression"),
        ({"rank_pattern": {"a{" + "9" * 30 + "}": 2}}, "is no regular expression"),
        ({"rank_pattern": {"(" * 3000 + ")" * 3000: 2}}, "is no regular expression"),
    ],
)
def test_a_configuration_that_does_not_fit_its_file_is_told(changes: dict[str, Any], said: str, saved: Saved) -> None:
    folder = saved(PLANS["plain"])
    rewrite(folder, changes)
    with pytest.raises(ahf.NotAnAdapter, match=re.escape(said)):
        open_changes(folder, "acme/it")


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_configuration_that_is_none_is_told(text: str, saved: Saved) -> None:
    folder = saved(PLANS["plain"])
    (folder / CONFIG).write_text(text)
    with pytest.raises(ahf.NotAnAdapter, match=r"adapter_config.json of it .*: save it again"):
        open_changes(folder, "it")


@pytest.mark.parametrize(
    ("kind", "name", "like", "said"),
    [
        ("bias", "deep.0.lora_B.bias", torch.ones(7, 1), r"lora_B.bias of the shape \(7, 1\): save it again"),
        ("convolutions", "point.lora_B.weight", torch.ones(3, 2, 2, 2), "point has rank 2, and its factors have"),
        ("head", "classifier.weight", torch.ones(3, 7).to(torch.float8_e4m3fn), "classifier.weight as F8_E4M3"),
    ],
)
def test_tensors_that_no_lora_has_are_told(kind: str, name: str, like: Tensor, said: str, saved: Saved) -> None:
    folder = saved(PLANS[kind])
    tensors = load_file(folder / WEIGHTS) | {f"base_model.model.{name}": like}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises((ahf.NotAnAdapter, ahf.BadMerge), match=said):
        open_changes(folder, "it")


def test_a_pattern_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_config, "TIMEOUT", 0.05)
    hostile = {"lora_alpha": 1, "r": 1, "alpha_pattern": {r"(\w|\.|.)*" * 4 + "q": 2}}
    with pytest.raises(ValueError, match=r"takes too long to match bert\.encoder"):
        lora_config.lora_scale(hostile, "bert.encoder.layer.0.attention.self.query")


RIGHT = ("plain", "patterns", "alike", "embedding", "convolutions", "conv1d")


@pytest.mark.parametrize("kind", [*PLANS, "dora"])
def test_what_peft_makes_of_one_adapter(kind: str, saved: Saved) -> None:
    """The table of docs/how-to/merge.md: where a release mends one of these, it is to be told there."""
    folder = saved(PLANS.get(kind) or LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=LINEAR))
    model, plain, expected = loaded(folder), dict(base().named_parameters()), added(folder)
    if kind == "adalora":
        with pytest.raises(TypeError, match="does not support add_weighted_adapter"):
            model.add_weighted_adapter(["default"], [1.0], "same", combination_type="cat")
        return
    model.add_weighted_adapter(["default"], [1.0], "same", combination_type="cat")
    model.set_adapter("same")
    found = dict(model.merge_and_unload(adapter_names=["same"]).named_parameters())
    off = torch.stack([(found[name] - plain[name] - expected[name]).norm() for name in expected]).norm()
    error = float(off.detach() / torch.stack([change.norm() for change in expected.values()]).norm())
    assert error < 1e-6 if kind in RIGHT else error > 0.2


def test_parents_of_other_types_of_number_are_summed_and_stored_in_the_widest(saved: Saved) -> None:
    kinds = {"plain": torch.bfloat16, "adalora": torch.float16, "rslora": torch.float64}
    plans = {kind: LoraConfig(r=3, target_modules=LINEAR) if kind == "plain" else PLANS[kind] for kind in kinds}
    plans["adalora"] = AdaLoraConfig(init_r=4, target_r=2, lora_alpha=5, total_step=9, target_modules=LINEAR)
    versions = [stored(saved(plans[kind], dtype), plans[kind], f"acme/{kind}") for kind, dtype in kinds.items()]
    weights = [0.6, -0.4, 1.3]
    made = ahf.merge([each.reference for each in versions], weights=weights, into="acme/sum").version
    assert made is not None
    changes, found = [added(each.files) for each in versions], added(made.files)
    for name, change in found.items():
        wanted = sum(weight * each[name] for weight, each in zip(weights, changes, strict=True))
        assert torch.allclose(change, wanted, rtol=1e-6, atol=1e-12), name  # type: ignore[arg-type]
    assert {value.dtype for value in load_file(made.files / WEIGHTS).values()} == {torch.float64}
