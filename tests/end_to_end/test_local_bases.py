"""A base in a folder is one everywhere: it is fingerprinted, and recorded by an id of the user's choosing (G 26)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.recipe.choices import BaseChoice, named_base
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.testing import tiny_corpus, tiny_encoder

LABELS = ["negative", "neutral", "positive"]
TEXTS = ["Arlo: profit rose.", "Brent: profit fell."]
Adapter = Callable[..., Path]


@pytest.fixture
def ours(encoder: Path, tmp_path: Path) -> Path:
    """A private base, in a folder that nobody knows."""
    return Path(shutil.copytree(encoder, tmp_path / "private" / "ours"))


def adapter(base: Path, folder: Path, seed: int = 0, auto: Any = AutoModelForSequenceClassification) -> Path:
    """An adapter that PEFT trained on a folder, whose path it names."""
    torch.manual_seed(seed)
    classifies = auto is AutoModelForSequenceClassification
    model = auto.from_pretrained(base, **({"num_labels": 3} if classifies else {}))
    options: Any = {"task_type": "SEQ_CLS"} if classifies else {"task_type": "CAUSAL_LM"}
    targets = ["query", "value"] if classifies else ["q_proj"]
    plan = LoraConfig(r=2, target_modules=targets, init_lora_weights=False, **options)
    get_peft_model(model, plan).save_pretrained(folder, save_embedding_layers=False)
    return folder


def command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main([str(each) for each in arguments])
    return int(leave.value.code or 0)


def recorded(home: Path) -> str:
    """All that the registry holds as text."""
    return "".join(path.read_text(encoding="utf-8") for path in home.rglob("*.json"))


def test_two_adapters_of_a_private_base_are_pinned_loaded_and_merged(ours: Path, home: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        theirs = adapter(ours, tmp_path / str(seed), seed)
        given = ("--labels", ",".join(LABELS), "--base", ours, "--base-id", "acme/base")
        assert command("import", theirs, "--as", f"acme/t{seed}", *given) == 0
    bases = [ahf.Registry().resolve(f"acme/t{seed}").manifest.base for seed in (1, 2)]
    assert [(base.repository, base.fingerprint) for base in bases] == [("acme/base", "verified")] * 2
    model, tokenizer = AutoModel.from_pretrained(ours), AutoTokenizer.from_pretrained(ours)
    from adapterhub_fin.engine.base.check import describe_base

    assert bases[0] == bases[1] == describe_base(model, tokenizer, (), "acme/base", None)  # of files and of memory
    configs = json.loads((tmp_path / "1" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert configs == str(ours)
    merged = ahf.merge(["acme/t1", "acme/t2"], into="acme/both")
    assert merged.warnings == [] and merged.version is not None and merged.version.manifest.base == bases[0]
    loaded = [ahf.load(name).logits(TEXTS) for name in ("acme/t1", "acme/t2", "acme/both")]  # where it was seen
    assert not torch.equal(loaded[0], loaded[1])
    assert [event for event in ahf.Registry().events("acme/t1@1") if event["kind"] == "fingerprint-verified"] == []
    manifests = [ahf.Registry().resolve(f"acme/t{seed}").manifest_bytes.decode() for seed in (1, 2)]
    assert not any("private" in each for each in manifests)
    other = tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(ahf.WrongBase, match="other weights than acme/base"):
        ahf.load("acme/t1", base=other)
    ahf.import_folder(
        adapter(other, tmp_path / "3", 3), "acme/t3", base={"path": other, "id": "acme/base"}, labels=LABELS
    )
    with pytest.raises(ahf.BadMerge, match="other weights"):
        ahf.merge(["acme/t1", "acme/t3"], into="acme/wrong")


def test_without_an_id_it_is_pinned_and_has_none(ours: Path, tmp_path: Path) -> None:
    theirs = adapter(ours, tmp_path / "theirs")
    for name, base in (("acme/a", str(ours)), ("acme/b", ours), ("acme/c", {"path": str(ours)})):
        taken = ahf.import_folder(theirs, name, base=base, labels=LABELS)
        assert (taken.version.manifest.base.repository, taken.version.manifest.base.fingerprint) == (None, "verified")
        assert taken.warnings == []
    ahf.merge(["acme/a", "acme/b"], into="acme/both")
    assert torch.equal(ahf.load("acme/a").logits(TEXTS), ahf.load("acme/a", base=str(ours)).logits(TEXTS))


def as_pickle(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def in_shards(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1


def in_bfloat16(folder: Path) -> None:
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


@pytest.mark.parametrize("change", [as_pickle, in_shards, in_bfloat16, without_tokenizer])
def test_whatever_form_its_files_have(
    change: Callable[[Path], None], ours: Path, encoder: Path, tmp_path: Path
) -> None:
    theirs = adapter(ours, tmp_path / "theirs")
    change(ours)
    taken = ahf.import_folder(theirs, "acme/a", base={"path": ours, "id": "acme/base"}, labels=LABELS)
    base = taken.version.manifest.base
    assert base.fingerprint == "verified" and base.weight_probe is not None and base.weight_probe.rows
    assert (base.tokenizer_digest is None) == (change is without_tokenizer)
    assert ahf.load("acme/a", base=encoder).logits(TEXTS).shape == (2, 3)
    with pytest.raises(ahf.WrongBase):
        ahf.load("acme/a", base=tiny_encoder(tmp_path / "other", seed=1))


def test_a_decoder_with_its_output(decoder: Path, tmp_path: Path) -> None:
    theirs = adapter(decoder, tmp_path / "theirs", auto=AutoModelForCausalLM)
    taken = ahf.import_folder(theirs, "acme/w", base={"path": decoder, "id": "acme/base"})
    probe = taken.version.manifest.base.weight_probe
    assert probe is not None and probe.rows is not None and set(probe.rows) == {"embed_tokens.weight", "lm_head.weight"}
    first: Tensor = ahf.load("acme/w", base=decoder).logits(TEXTS)
    assert torch.equal(ahf.load("acme/w").logits(TEXTS), first)


def test_a_folder_is_one_for_save_train_and_every_command(
    ours: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ours.parent)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(ours, num_labels=3)
    plan = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS", init_lora_weights=False)
    saved = ahf.save(get_peft_model(model, plan), "acme/saved", base="ours", labels=LABELS)
    assert saved.manifest.base.repository is None
    assert ahf.load("acme/saved").logits(TEXTS).shape == (2, 3)
    run = ahf.train(
        name="acme/trained",
        base="./ours",
        method={"name": "lora", "rank": 2, "targets": ["query"]},
        corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        training={"epochs": 1, "batch_size": 48, "max_length": 32},
    )
    assert run.version.manifest.base.repository is None
    ahf.merge(["acme/saved", "acme/trained"], into="acme/both", head_from="acme/saved")
    assert command("predict", "acme/both", TEXTS[0], "--base", "ours") == 0
    assert str(ours) not in recorded(home) and str(ours.parent) not in recorded(home)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("minilm", "id"),
        ("org/model", "id"),
        ("gpt2", "id"),
        ("models/there", "path"),
        ("models/nothing", "id"),
        ("whole", "path"),
        ("models", "id"),  # a folder of that name that holds no model
        ("./models", "path"),
        ("~/base", "path"),
        ("/nowhere/base", "path"),
        (".", "path"),
        ("..\\base", "path"),
    ],
)
def test_a_text_names_a_folder_or_an_id_wherever_it_stands(
    text: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "there").mkdir(parents=True)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert named_base(text) == {key: text}
    choice = Recipe.read({"base": text, "corpus": "x"}).base
    assert choice == BaseChoice.read(text) == BaseChoice.read({key: text})
    assert (choice.path is None) == (key == "id")
    assert BaseChoice.read(Path(text)).path == Path(text)


def test_what_is_no_base_is_said_before_anything_is_stored(ours: Path, tmp_path: Path, home: Path) -> None:
    theirs = adapter(ours, tmp_path / "theirs")
    with pytest.raises(ahf.BaseNotFound, match=r"holds no config\.json"):
        ahf.import_folder(theirs, "acme/a", base=str(tmp_path / "nothing"), labels=LABELS)
    with pytest.raises(ahf.BadRecipe, match="an id reads org/model"):
        ahf.import_folder(theirs, "acme/a", base={"path": ours, "id": str(ours)}, labels=LABELS)
    assert command("import", theirs, "--as", "acme/a", "--base", "org/one", "--base-id", "org/two") == 2
    assert command("import", theirs, "--as", "acme/a", "--base", tmp_path / "nothing") != 0
    assert not ahf.Registry().names()
    (ours / "model.safetensors").unlink()
    with pytest.raises(ahf.BaseNotFound, match=r"holds no model\.safetensors"):
        ahf.import_folder(theirs, "acme/a", base=ours, labels=LABELS)
    assert not ahf.Registry().names()
