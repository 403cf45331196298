"""Two trained adapters become one version: what it holds, where it comes from, and what can't be merged."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

import adapterhub_fin as ahf
from adapterhub_fin.cli import group
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.merging.changes import changes_of
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.interfaces import LoraFactors, MethodImplementation
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.testing import tiny_corpus, tiny_encoder
from adapterhub_fin.testing.forked import run_forked
from adapterhub_fin_registry import Version
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

TEXTS = ["Arlo: profit rose.", "Brent: profit fell.", "Corvo: meets in May."]
LABELS = ["negative", "neutral", "positive"]
OTHER_ORDER = ["positive", "negative", "neutral"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Iterator[Path]:
    """A registry of acme/a, acme/b with other ranks, scales, layers and an order of labels, and acme/prefix."""
    root = tmp_path_factory.mktemp("merging") / "home"
    plans: dict[str, Any] = {
        "a": {"method": {"name": "lora", "rank": 4, "alpha": 6}},
        "b": {
            "method": {"name": "lora", "rank": 2, "rslora": True, "targets": ["query", "dense"]},
            "head": {"name": "classify", "labels": OTHER_ORDER},
            "license": "MIT",
        },
        "prefix": {"method": {"name": "prefix-tuning", "tokens": 2}},
        "tone": {"method": {"name": "lora", "rank": 2}, "head": "regress"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        for seed, (name, plan) in enumerate(plans.items()):
            ahf.train(
                name=f"acme/{name}",
                base={"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2019-06-30", "evidence": "its card"},
                corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
                training={"epochs": 1, "batch_size": 16, "max_length": 32, "seed": seed},
                registry=ahf.Registry(root),
                **plan,
            )
    yield root


@pytest.fixture
def kept(shelf: Path, home: Path) -> ahf.Registry:
    """The same versions in a registry of this test's own."""
    shutil.copytree(shelf, home)
    return ahf.Registry()


def changed(
    registry: ahf.Registry, reference: str, name: str, tensors: dict[str, Tensor], tmp_path: Path, **manifest: Any
) -> Version:
    """A version like another, but for some tensors and some of its manifest."""
    source = registry.resolve(reference)
    folder = tmp_path / name.replace("/", "-")
    shutil.copytree(source.files, folder)
    held = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    save_file(held | tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    update = {"files": (), "tensors": (), **manifest}
    return registry.add(folder, source.manifest.model_copy(update=update), name=name)


def head_tensors(version: Version) -> dict[str, Tensor]:
    return {
        name: value for name, value in load_file(version.files / "adapter_model.safetensors").items() if "class" in name
    }


def logits(version: Version, encoder: Path) -> Tensor:
    return ahf.load(version.reference, base=encoder).logits(TEXTS)


def folded(version: Version, encoder: Path) -> dict[str, Tensor]:
    """What plain PEFT adds to each weight of the base."""

    def base() -> Any:
        torch.manual_seed(0)
        return AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3).double()

    plain = dict(base().named_parameters())
    merged: Any = PeftModel.from_pretrained(base(), str(version.files)).merge_and_unload()
    return {
        name: value.detach() - plain[name].detach() for name, value in merged.named_parameters() if "class" not in name
    }


def test_the_sum_is_the_weighted_sum_of_what_peft_adds(kept: ahf.Registry, encoder: Path) -> None:
    made = ahf.merge(
        ["acme/a", "acme/b"], weights=[0.6, -0.4], weights_for={"layer.0.*": [0, 2]}, head_from="acme/b", into="acme/ab"
    )
    assert made.version is not None and made.energy == 1 and made.space == "exact"
    a, b, ab = (folded(kept.resolve(name), encoder) for name in ("acme/a", "acme/b", "acme/ab"))
    for name, found in ab.items():
        left, right = (0, 2) if "layer.0." in name else (0.6, -0.4)
        wanted = left * a[name] + right * b[name]
        assert (found - wanted).norm() <= 1e-6 * wanted.norm(), name
    assert {each.rank for each in made.modules} == {0, 2, 4, 6}
    assert torch.equal(
        *(head_tensors(kept.resolve(n))["base_model.model.classifier.weight"] for n in ("acme/b", "acme/ab"))
    )
    assert made.version.manifest.head is not None and list(made.version.manifest.head.labels or ()) == OTHER_ORDER


def test_of_two_patterns_that_fit_the_first_counts_and_is_recorded_first(kept: ahf.Registry) -> None:
    given = [("query", [1, 0]), ("layer.0.*", [0, 2])]
    parents = [changes_of(kept.resolve(name)) for name in ("acme/a", "acme/b")]
    for name, patterns in (("acme/one", given), ("acme/other", given[::-1])):
        version = ahf.merge(["acme/a", "acme/b"], weights_for=dict(patterns), head_from="acme/a", into=name).version
        assert version is not None and version.manifest.recipe is not None
        assert version.manifest.recipe["merge"]["weights_for"] == [list(each) for each in patterns]
        layer = "bert.encoder.layer.0.attention.self.query.weight"
        one, other = (each.change(layer).to(torch.float64).dense() for each in parents)
        wanted = one if patterns is given else 2 * other
        assert torch.allclose(changes_of(version).change(layer).to(torch.float64).dense(), wanted, atol=1e-6)
    assert kept.resolve("acme/one").digest != kept.resolve("acme/other").digest


def test_heads_are_aligned_by_the_names_of_their_labels(kept: ahf.Registry, encoder: Path) -> None:
    made = ahf.merge(["acme/a", "acme/b"], weights=[3, 1], into="acme/ab").version
    assert made is not None
    a, b, ab = (head_tensors(kept.resolve(name)) for name in ("acme/a", "acme/b", "acme/ab"))
    order = [OTHER_ORDER.index(label) for label in LABELS]
    for name, value in ab.items():
        assert torch.allclose(value, 0.75 * a[name] + 0.25 * b[name][order], atol=1e-7), name
    assert made.manifest.head is not None and list(made.manifest.head.labels or ()) == LABELS


def test_a_version_of_other_labels_order_is_the_same_adapter(kept: ahf.Registry, encoder: Path, tmp_path: Path) -> None:
    source = kept.resolve("acme/a")
    order = [LABELS.index(label) for label in OTHER_ORDER]
    tensors = {name: value[order].contiguous() for name, value in head_tensors(source).items()}
    assert source.manifest.head is not None
    head = source.manifest.head.model_copy(update={"labels": tuple(OTHER_ORDER)})
    changed(kept, "acme/a", "acme/turned", tensors, tmp_path, head=head)
    made = ahf.merge(["acme/a", "acme/turned"], into="acme/both").version
    assert made is not None and torch.allclose(logits(made, encoder), logits(source, encoder), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "inner", "outer"),
    [("Roberta", "classifier.dense", "classifier.out_proj"), ("DistilBert", "pre_classifier", "classifier")],
)
def test_of_a_head_of_two_layers_the_last_alone_is_put_in_order(
    home: Path, tmp_path: Path, model: str, inner: str, outer: str
) -> None:
    sizes = {"vocab_size": 20, "max_position_embeddings": 12}
    if model == "Roberta":
        sizes |= {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    else:
        sizes |= {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    config = getattr(transformers, f"{model}Config")(**sizes, num_labels=3)
    held = []
    for seed, labels in enumerate((LABELS, OTHER_ORDER)):
        torch.manual_seed(seed)
        whole = getattr(transformers, f"{model}ForSequenceClassification")(config)
        plan = LoraConfig(r=2, target_modules=["query", "q_lin"], task_type="SEQ_CLS", init_lora_weights=False)
        get_peft_model(whole, plan).save_pretrained(tmp_path / str(seed), save_embedding_layers=False)
        ahf.import_folder(tmp_path / str(seed), f"acme/n{seed}", base="acme/it", labels=labels)
        held.append(load_file(tmp_path / str(seed) / "adapter_model.safetensors"))
    made = ahf.merge(["acme/n0", "acme/n1"], weights=[1, 3], into="acme/both").version
    assert made is not None
    found = load_file(made.files / "adapter_model.safetensors")
    order = [OTHER_ORDER.index(label) for label in LABELS]
    for end in ("weight", "bias"):
        one, other, both = (each[f"base_model.model.{inner}.{end}"] for each in (*held, found))
        assert torch.allclose(both, 0.25 * one + 0.75 * other), "hidden features have no labels"
        one, other, both = (each[f"base_model.model.{outer}.{end}"] for each in (*held, found))
        assert torch.allclose(both, 0.25 * one + 0.75 * other[order])
    assert sum("lora" not in name for name in found) == 4


def test_regressions_are_averaged_in_their_units(kept: ahf.Registry, encoder: Path, tmp_path: Path) -> None:
    source = kept.resolve("acme/tone")
    assert source.manifest.head is not None
    options = source.manifest.head.options
    head = source.manifest.head.model_copy(update={"options": {**options, "centre": 3.0, "scale": 5.0}})
    other = changed(
        kept, "acme/tone", "acme/scaled", {n: v * 2 + 1 for n, v in head_tensors(source).items()}, tmp_path, head=head
    )
    made = ahf.merge(["acme/tone", "acme/scaled"], weights=[0.5, 1.5], into="acme/mean").version
    assert made is not None
    one, two, both = (
        [each.value for each in ahf.load(v.reference, base=encoder).predict(TEXTS)] for v in (source, other, made)
    )
    # The layers' changes are the same in both, but for their weights' sum of two.
    twice = ahf.merge(["acme/tone", "acme/tone"], weights=[0.5, 1.5], into="acme/twice").version
    assert twice is not None and len(set(both)) == 3 and one != two
    strong = changed(kept, "acme/twice", "acme/strong", head_tensors(other), tmp_path, head=head)
    one, two = ([each.value for each in ahf.load(v.reference, base=encoder).predict(TEXTS)] for v in (twice, strong))
    assert both == pytest.approx([0.25 * a + 0.75 * b for a, b in zip(one, two, strict=True)], rel=1e-4)


def test_where_it_comes_from_is_recorded(kept: ahf.Registry) -> None:
    made = ahf.merge(
        ["acme/a", "acme/b"], weights=[0.7, 0.3], using="svd", rank=0.9, into="acme/ab", seed=3, tags=["house"]
    )
    version = made.version
    assert version is not None
    manifest = version.manifest
    a, b = (kept.resolve(name) for name in ("acme/a", "acme/b"))
    assert [(each.digest, each.name, each.role, each.weight) for each in manifest.parents] == [
        (a.digest, "acme/a", "merge", 0.7),
        (b.digest, "acme/b", "merge", 0.3),
    ]
    assert manifest.recipe is not None and manifest.seed == 3 and manifest.tags == ("house",)
    details = manifest.recipe["merge"]
    assert (details["merger"], details["rank"], details["space"], details["version"]) == ("svd", 0.9, "exact", 1)
    assert details["provider"]["distribution"] == "adapterhub-fin"
    assert details["energy"] == {each.name: round(each.energy, 6) for each in made.modules if each.energy < 1}
    assert 0.9 <= min(details["energy"].values()) < 1
    assert manifest.method.name == "lora" and manifest.license is None and manifest.metrics == {}
    assert manifest.knowledge.end == max(each.manifest.knowledge.end for each in (a, b))
    assert {each.input for each in manifest.knowledge.inputs} == {each.input for each in a.manifest.knowledge.inputs}
    assert version.knows_until(include_base=False) == max(each.knows_until(include_base=False) for each in (a, b))
    assert manifest.base == a.manifest.base and kept.lineage("acme/ab").ancestors[0].digest == a.digest


def test_it_knows_what_its_parents_knew(kept: ahf.Registry, tmp_path: Path) -> None:
    known = kept.resolve("acme/a").manifest.knowledge
    later = [
        KnowledgeInput(input="corpus:notes", at="2021-03-01T00:00:00Z", kind="asserted"),
        *(each.model_copy(update={"at": "2020-02-02T00:00:00Z"}) for each in known.inputs if each.input == "base"),
    ]
    changed(kept, "acme/a", "acme/late", {}, tmp_path, knowledge=Knowledge.of(later))
    for pair in (["acme/a", "acme/late"], ["acme/late", "acme/a"]):
        made = ahf.merge(pair, into=f"acme/x{pair.index('acme/a')}").version
        assert made is not None
        found = {each.input: each.at for each in made.manifest.knowledge.inputs}
        assert found == {each.input: each.at for each in (*known.inputs, *later)}
        with pytest.raises(ahf.Refused, match="ended its knowledge before"):
            kept.resolve(made.name, as_of="2021-03-01", include_base=False)


def test_a_parent_that_its_base_alone_dates_keeps_its_date(kept: ahf.Registry, tmp_path: Path) -> None:
    known = KnowledgeInput(input="base", at="2031-05-05T00:00:00Z", kind="bounded", evidence="first seen")
    bare = changed(kept, "acme/a", "acme/bare", {}, tmp_path, knowledge=Knowledge.of([known]))
    for pair in (["acme/a", "acme/bare"], ["acme/bare", "acme/a"]):
        made = ahf.merge(pair, into=f"acme/y{pair.index('acme/a')}").version
        assert made is not None
        for include_base in (True, False):
            assert made.knows_until(include_base) == max(
                each.knows_until(include_base) for each in (kept.resolve("acme/a"), bare)
            )
        assert {"input": "parent:acme/bare", **known.model_dump(exclude={"input"})} in [
            each.model_dump() for each in made.manifest.knowledge.inputs
        ]


@pytest.mark.parametrize("using", ["linear", "dare-ties"])
def test_the_same_merge_twice_is_one_version(kept: ahf.Registry, using: str) -> None:
    first, again = (ahf.merge(["acme/a", "acme/b"], using=using, into="acme/ab").version for _ in range(2))
    assert first == again
    other = ahf.merge(["acme/a", "acme/b"], using=using, seed=1, into="acme/ab").version
    assert first is not None and other is not None and other.digest != first.digest
    before, after = (load_file(each.files / "adapter_model.safetensors") for each in (first, other))
    same = [torch.equal(before[name], after[name]) for name in before if "lora_B" in name]
    assert all(same) if using == "linear" else not any(same)


ALONE = """
import json, sys
opened = []
sys.addaudithook(lambda event, told: opened.append(str(told[0])) if event == "open" else None)
import adapterhub_fin as ahf
made = ahf.merge(["acme/a", "acme/b"], into="acme/ab", using="ties")
print(json.dumps([made.version.digest, opened]))
"""
LOADED = """
import sys
import adapterhub_fin as ahf
print(ahf.load("acme/ab", base=sys.argv[1]).logits(sys.argv[2:]).tolist())
"""


# The process can't know where the base lies: its own cache remembers no base, and no version holds a path.
def test_the_base_is_never_opened_and_the_merge_loads_in_another_process(kept: ahf.Registry, encoder: Path) -> None:
    (done := run_forked("-c", ALONE)).check_returncode()
    digest, opened = json.loads(done.stdout.splitlines()[-1])
    assert any(str(kept.root) in path for path in opened)
    weights = {Path(path) for path in opened if path.endswith((".safetensors", ".bin", "config.json"))}
    assert not [path for path in weights if encoder in path.parents or path.name == "config.json"]
    (done := run_forked("-c", LOADED, str(encoder), *TEXTS)).check_returncode()
    version = kept.resolve("acme/ab")
    assert version.digest == digest
    assert json.loads(done.stdout.splitlines()[-1]) == logits(version, encoder).tolist()


class TestRefusals:
    def test_of_what_is_not_low_rank_by_both_names(self, kept: ahf.Registry) -> None:
        for pair in (["acme/a", "acme/prefix"], ["acme/prefix", "acme/a"]):
            with pytest.raises(
                ahf.BadMerge, match=r"acme/prefix@1 was made by the method 'prefix-tuning'.*merging it with acme/a"
            ):
                ahf.merge(pair, into="acme/x")
        assert kept.names() == ["acme/a", "acme/b", "acme/prefix", "acme/tone"]

    def test_of_another_base(self, kept: ahf.Registry, tmp_path: Path) -> None:
        base = {"id": "acme/tiny", "path": str(tiny_encoder(tmp_path / "other", seed=1))}
        ahf.train(
            name="acme/far",
            base=base,
            method={"name": "lora", "rank": 2},
            corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
            training={"epochs": 1, "batch_size": 48, "max_length": 32},
        )
        with pytest.raises(
            ahf.BadMerge, match="acme/a@1 is for acme/tiny and acme/far@1 for acme/tiny, which has other weights"
        ):
            ahf.merge(["acme/a", "acme/far"], into="acme/x")

    def test_of_pins_that_differ(self, kept: ahf.Registry, tmp_path: Path) -> None:
        base = kept.resolve("acme/a").manifest.base
        bare = base.model_copy(update={"weight_probe": None, "structure_digest": None, "fingerprint": "declared"})
        cases = {
            "layers": base.model_copy(update={"structure_digest": "sha256:" + "0" * 64}),
            "vocabulary size": base.model_copy(update={"vocabulary_size": 7}),
            "architecture": base.model_copy(update={"architecture": "LlamaModel"}),
            "id": bare.model_copy(update={"repository": "acme/other"}),
            "revision": bare.model_copy(update={"revision": "b" * 40}),
            "configuration": base.model_copy(update={"config_digest": "sha256:" + "0" * 64}),
        }
        changed(kept, "acme/a", "acme/pinned", {}, tmp_path, base=base.model_copy(update={"revision": "a" * 40}))
        for what, pin in cases.items():
            changed(kept, "acme/a", f"acme/{what[:4]}", {}, tmp_path, base=pin)
            with pytest.raises(ahf.BadMerge, match=f"acme/pinned@1 is for .*, which has another {what}"):
                ahf.merge(["acme/pinned", f"acme/{what[:4]}"], into="acme/x")
        assert base.weight_probe is not None
        fewer = base.weight_probe.model_copy(update={"values": {"pooler.dense.weight": (1.0,)}})
        pin = base.model_copy(update={"weight_probe": fewer, "structure_digest": None})
        changed(kept, "acme/a", "acme/fewer", {}, tmp_path, base=pin)
        with pytest.raises(ahf.BadMerge, match="acme/fewer@1 for .*, which has other layers"):
            ahf.merge(["acme/a", "acme/fewer"], into="acme/x")

    def test_of_two_names_of_one_layer(self, kept: ahf.Registry, tmp_path: Path) -> None:
        a = kept.resolve("acme/a")
        shutil.copytree(a.files, tmp_path / "bare")
        held = load_file(a.files / "adapter_model.safetensors")
        bare = {name.replace(".bert.", "."): value for name, value in held.items() if "lora_" in name}
        (tmp_path / "bare" / "adapter_model.safetensors").unlink()
        save_file(bare, tmp_path / "bare" / "adapter_model.safetensors", metadata={"format": "pt"})
        update = {"files": (), "tensors": (), "head": None}
        kept.add(tmp_path / "bare", a.manifest.model_copy(update=update), name="acme/bare")
        with pytest.raises(ahf.BadMerge, match=r"names the layers of its base bert\.\* and acme/bare@1 \*"):
            ahf.merge(["acme/a", "acme/bare"], head_from="acme/a", into="acme/x")

    def test_of_a_declared_base_only_by_its_id_which_is_said(
        self, kept: ahf.Registry, encoder: Path, tmp_path: Path
    ) -> None:
        model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
        plan = LoraConfig(r=3, target_modules="all-linear", task_type="SEQ_CLS", init_lora_weights=False)
        wrapped = get_peft_model(model, plan)
        wrapped.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
        (tmp_path / "theirs" / "README.md").unlink()
        ahf.import_folder(tmp_path / "theirs", "acme/theirs", base="acme/tiny", labels=LABELS)
        made = ahf.merge(["acme/a", "acme/theirs"], into="acme/x")
        assert made.warnings == ["acme/theirs@1: its base acme/tiny is declared and was not verified"]
        assert made.version is not None and made.version.manifest.base.fingerprint == "verified"
        assert made.version.manifest.recipe is not None
        assert made.version.manifest.recipe["merge"]["notes"] == made.warnings
        ahf.import_folder(tmp_path / "theirs", "acme/again", base="acme/tiny", labels=LABELS, description="again")
        both = ahf.merge(["acme/theirs", "acme/again"], into="acme/y").warnings
        assert [each.partition(":")[0] for each in both] == ["acme/theirs@1", "acme/again@1"]
        ahf.import_folder(tmp_path / "theirs", "acme/elsewhere", base="acme/huge", labels=LABELS)
        with pytest.raises(ahf.BadMerge, match="acme/elsewhere@1 for acme/huge, which has another id"):
            ahf.merge(["acme/a", "acme/elsewhere"], into="acme/x")

    def test_of_a_quantized_twin_there_is_only_a_note(self, kept: ahf.Registry, tmp_path: Path) -> None:
        base = kept.resolve("acme/a").manifest.base
        assert base.weight_probe is not None
        near = {name: tuple(x * 1.1 for x in values) for name, values in base.weight_probe.values.items()}
        pin = {"weight_probe": base.weight_probe.model_copy(update={"values": near})}
        changed(kept, "acme/a", "acme/close", {}, tmp_path, base=base.model_copy(update=pin))
        with pytest.raises(ahf.BadMerge, match="other weights"):
            ahf.merge(["acme/a", "acme/close"], into="acme/x")
        pin["quantization"] = {"load_in_4bit": True}
        changed(kept, "acme/a", "acme/four", {}, tmp_path / "again", base=base.model_copy(update=pin))
        made = ahf.merge(["acme/four", "acme/a"], into="acme/x")
        assert made.version is not None and made.version.manifest.base == base and "acme/four@1" in made.warnings[0]
        pin["repository"] = "acme/tuned"  # a fine-tuning of the base would lie within what four bits round
        changed(kept, "acme/a", "acme/tuned", {}, tmp_path / "tuned", base=base.model_copy(update=pin))
        made = ahf.merge(["acme/a", "acme/tuned"], into="acme/y")
        assert made.warnings[0].startswith(
            "acme/a@1 is for acme/tiny and acme/tuned@1 for acme/tuned: the weights of a quantized base"
        )

    def test_of_two_that_each_go_with_a_third(self, kept: ahf.Registry, tmp_path: Path) -> None:
        base = kept.resolve("acme/a").manifest.base
        bare = {"weight_probe": None, "structure_digest": None, "fingerprint": "declared"}
        for revision in ("c", "d"):
            pin = base.model_copy(update={**bare, "revision": revision * 40})
            changed(kept, "acme/a", f"acme/{revision}", {}, tmp_path, base=pin)
            ahf.merge(["acme/a", f"acme/{revision}"], into="acme/x")
        with pytest.raises(ahf.BadMerge, match="acme/c@1 is for .*acme/d@1 for .*, which has another revision"):
            ahf.merge(["acme/a", "acme/c", "acme/d"], into="acme/x")

    def test_of_labels_that_name_nothing(self, kept: ahf.Registry, tmp_path: Path) -> None:
        head = kept.resolve("acme/a").manifest.head
        assert head is not None
        unnamed = head.model_copy(update={"labels": ("LABEL_0", "LABEL_1", "LABEL_2")})
        for name in ("one", "two"):
            changed(kept, "acme/a", f"acme/{name}", {}, tmp_path, head=unnamed, description=name)
        with pytest.raises(ahf.BadMerge, match="neither records what its outputs mean.*--labels, or .*--head-from"):
            ahf.merge(["acme/one", "acme/two"], into="acme/x")
        assert ahf.merge(["acme/one", "acme/two"], into="acme/x", head_from="acme/one").head_from == "acme/one@1"

    def test_of_units_that_nobody_here_can_tell(self, kept: ahf.Registry, tmp_path: Path) -> None:
        head = kept.resolve("acme/tone").manifest.head
        assert head is not None
        for scale in (1, 5):
            theirs = head.model_copy(update={"name": "gauge", "options": {"scale": scale}})
            changed(kept, "acme/tone", f"acme/gauge{scale}", {}, tmp_path, head=theirs)
        with pytest.raises(ahf.BadMerge, match="may scale their outputs: .*'gauge'.*--head-from"):
            ahf.merge(["acme/gauge1", "acme/gauge5"], into="acme/x")

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"weights": [1]}, "2 adapters were given and 1 weights"),
            ({"weights": [1, float("nan")]}, "acme/b@1 nan: a weight is a finite number"),
            ({"weights": [1, -1]}, "sum to 0, and heads.*--head-from"),
            ({"weights": [0.1 + 0.2, -0.3]}, "sum to 5.5.*e-17, and heads.*--head-from"),
            ({"weights": [1e308, 1e308]}, "too large to be summed"),
            ({"weights_for": {"layer.9.*": [1, 1]}}, "'layer.9.*' fits none"),
            ({"weights_for": {"layer.0.*": [1]}}, "1 weights for layer.0"),
            (
                {"head_from": "acme/tone"},
                "acme/tone, which is not one of the adapters to merge: name one of acme/a@1, acme/b@1",
            ),
            ({"head_from": "acme/none"}, "not one of the adapters to merge"),
            ({"rank": 0}, "a rank is a whole number from 1"),
            ({"rank": 2**63, "dry_run": True}, "a rank is a whole number from 1"),
            ({"seed": 2**63, "dry_run": True}, "the seed 9223372036854775808 is not a whole number"),
            ({"using": "slerp", "weights": [-1, 2]}, r"bert.*weight: "),
            ({"space": "dense"}, "exact in the space of the factors"),
            ({"into": None}, "has no name"),
        ],
    )
    def test_of_bad_input(self, kept: ahf.Registry, given: dict[str, Any], said: str) -> None:
        with pytest.raises(ahf.BadMerge, match=said):
            ahf.merge(["acme/a", "acme/b"], **{"into": "acme/x", **given})
        assert "acme/x" not in kept.names()

    def test_of_other_labels_and_other_heads(self, kept: ahf.Registry, encoder: Path, tmp_path: Path) -> None:
        head = kept.resolve("acme/a").manifest.head
        assert head is not None
        named = head.model_copy(update={"labels": ("bad", "fair", "good")})
        changed(kept, "acme/a", "acme/other", {}, tmp_path, head=named)
        with pytest.raises(
            ahf.BadMerge, match="acme/a@1 answers negative, neutral, positive and acme/other@1 bad, fair, good"
        ):
            ahf.merge(["acme/a", "acme/other"], into="acme/x")
        with pytest.raises(ahf.BadMerge, match="acme/a@1 has classify and acme/tone@1 regress"):
            ahf.merge(["acme/a", "acme/tone"], into="acme/x")
        made = ahf.merge(["acme/a", "acme/other"], into="acme/x", head_from="acme/other@1").version
        assert made is not None and made.manifest.head == named and made.manifest.recipe is not None
        assert made.manifest.recipe["merge"]["head_from"] == kept.resolve("acme/other").digest
        assert torch.allclose(logits(made, encoder), logits(kept.resolve("acme/a"), encoder), atol=1e-5)

    def test_of_values_that_are_no_numbers(self, kept: ahf.Registry, tmp_path: Path) -> None:
        name = next(iter(load_file(kept.resolve("acme/a").files / "adapter_model.safetensors")))
        bad = load_file(kept.resolve("acme/a").files / "adapter_model.safetensors")[name].fill_(float("nan"))
        changed(kept, "acme/a", "acme/broken", {name: bad}, tmp_path)
        with pytest.raises(ahf.BadMerge, match="acme/broken@1 holds NaN or infinite values"):
            ahf.merge(["acme/a", "acme/broken"], into="acme/x")

    def test_of_factors_that_the_stored_type_does_not_hold(self, kept: ahf.Registry, tmp_path: Path) -> None:
        """`cat` leaves the factors as they are, however far apart their sizes."""
        held = load_file(kept.resolve("acme/a").files / "adapter_model.safetensors")
        name = next(each for each in held if each.endswith("lora_B.weight"))
        down = name.replace("lora_B", "lora_A")
        sizes = {name: torch.full_like(held[name], 3e38), down: torch.full_like(held[down], 1e-30)}
        changed(kept, "acme/a", "acme/far", sizes, tmp_path)
        with pytest.raises(ahf.BadMerge, match="the merged factors are beyond what torch.float32 holds"):
            ahf.merge(["acme/a", "acme/far"], using="cat", weights=[1, 10], into="acme/x")


def test_licenses_are_joined(kept: ahf.Registry, tmp_path: Path) -> None:
    changed(kept, "acme/a", "acme/free", {}, tmp_path, license="Apache-2.0 OR MIT")
    joined = ahf.merge(["acme/b", "acme/free"], into="acme/x").version
    stated = ahf.merge(["acme/b", "acme/a"], into="acme/y", license="MIT").version
    assert joined is not None and joined.manifest.license == "MIT AND (Apache-2.0 OR MIT)"
    assert stated is not None and stated.manifest.license == "MIT"


def run_ahf(*arguments: str) -> Any:
    return CliRunner().invoke(group, list(arguments), catch_exceptions=False)


class TestVerb:
    def test_it_merges_measures_and_tells(self, kept: ahf.Registry, encoder: Path) -> None:
        check = ["--check", tiny_corpus(), "--split", "all", "--base", str(encoder)]
        done = run_ahf(
            "merge", "acme/a", "acme/b", "--weights", "0.5,0.5", "--rank", "0.9", "--into", "acme/ab", *check
        )
        assert done.exit_code == 0 and "acme/ab@1 (sha256:" in done.output and "energy kept" in done.output
        for reference in ("acme/a@1", "acme/b@1", "acme/ab@1"):
            assert f"{reference}" in done.output
        assert done.output.count("macro_f1") == 3
        assert [event["kind"] for event in kept.events("acme/ab")] == ["evaluation"] and [
            event["kind"] for event in kept.events("acme/a")
        ] == ["history"]

    def test_its_json_and_a_dry_run(self, kept: ahf.Registry) -> None:
        given = [
            "acme/a@1",
            "acme/b",
            "--using",
            "ties",
            "--set",
            "density=0.5",
            "--weights-for",
            "layer.1.*=1,0",
            "--json",
        ]
        tried = json.loads(run_ahf("merge", *given, "--dry-run").stdout)
        assert "reference" not in tried and "acme/ab" not in kept.names() and tried["space"] == "dense"
        stored = json.loads(run_ahf("merge", *given, "--into", "acme/ab").stdout)
        assert stored["reference"] == "acme/ab@1" and stored["modules"] == tried["modules"]
        assert [each["weight"] for each in stored["parents"]] == [1, 1]
        recipe = kept.resolve("acme/ab").manifest.recipe
        assert recipe is not None and recipe["merge"]["options"]["density"] == 0.5
        assert recipe["merge"]["weights_for"] == [["layer.1.*", [1.0, 0.0]]]

    @pytest.mark.parametrize(
        "arguments",
        [
            ["acme/a"],
            ["--into", "acme/x"],
            ["acme/a", "--into", "acme/x", "--weights", "one"],
            ["acme/a", "--into", "acme/x", "--rank", "big"],
            ["acme/a", "--into", "acme/x", "--weights-for", "layer"],
            ["acme/a", "--into", "acme/x", "--weights-for", "dense=1", "--weights-for", "dense=2"],
            ["acme/a", "--into", "acme/x", "--check-set", "rows=2"],
        ],
    )
    def test_wrong_usage_is_told(self, kept: ahf.Registry, arguments: list[str]) -> None:
        assert run_ahf("merge", *arguments).exit_code == 2 and "acme/x" not in kept.names()


class Outer(MethodImplementation):
    """A method of someone else's that keeps its factors in a form of its own."""

    def to_lora_factors(self, folder: Path) -> LoraFactors:
        held = load_file(folder / "adapter_model.safetensors")
        change = LowRank(held["column"][:, None], held["row"][None], 2.0)
        return LoraFactors({"bert.pooler.dense": change}, frozenset({"column", "row"}))


class Closed(MethodImplementation):
    """A method that adds low-rank matrices and does not say which."""


@pytest.mark.parametrize("target", [Outer, Closed])
def test_another_method_joins_by_its_factors(
    kept: ahf.Registry, encoder: Path, tmp_path: Path, target: type[MethodImplementation]
) -> None:
    described = f"{__name__}:{target.__name__}"
    ahf.register(
        Method(name=f"outer-{target.__name__.lower()}", summary="One.", target=described, traits=("additive_low_rank",))
    )
    a = kept.resolve("acme/a")
    held = {"column": torch.randn(32), "row": torch.randn(32), **{n: v.clone() for n, v in head_tensors(a).items()}}
    (tmp_path / "theirs").mkdir()
    save_file(held, tmp_path / "theirs" / "adapter_model.safetensors")
    method = a.manifest.method.model_copy(update={"name": f"outer-{target.__name__.lower()}", "options": {}})
    kept.add(
        tmp_path / "theirs",
        a.manifest.model_copy(update={"files": (), "tensors": (), "method": method}),
        name="acme/outer",
    )
    if target is Closed:
        with pytest.raises(ahf.BadMerge, match="'outer-closed', which adds no low-rank matrices"):
            ahf.merge(["acme/a", "acme/outer"], into="acme/x")
        return
    changed(kept, "acme/outer", "acme/more", {"bias": torch.ones(32)}, tmp_path)
    with pytest.raises(ahf.BadMerge, match="acme/more@1 can't be merged: bias is no part of LoRA"):
        ahf.merge(["acme/a", "acme/more"], into="acme/x")
    changed(kept, "acme/outer", "acme/torn", {"column": torch.ones(32, 2, 2)}, tmp_path)
    with pytest.raises(ahf.PluginError, match="the method outer-outer could not read acme/torn@1"):
        ahf.merge(["acme/a", "acme/torn"], into="acme/x")
    made = ahf.merge(["acme/a", "acme/outer"], weights=[0.0, 0.5], into="acme/x").version
    assert made is not None
    found = folded(made, encoder)["bert.pooler.dense.weight"]
    assert torch.allclose(found, torch.outer(held["column"], held["row"]).double(), atol=1e-5)


def test_the_examples_of_the_page_run(kept: ahf.Registry, encoder: Path) -> None:
    bases.remember(fingerprint_key(kept.resolve("acme/a").manifest.base), encoder)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "merge.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(lines) > 3
    for line in lines:
        done = run_ahf(*shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}: {done.output}"
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, {})


def test_a_change_is_read_without_its_siblings(kept: ahf.Registry) -> None:
    changes = changes_of(kept.resolve("acme/a"))
    name, parameter = next(iter(changes.parameters.items()))
    assert changes.change(name).shape == parameter.matrix and changes.modules_to_save == ("classifier",)
