"""The whole line: train, store, find, load; the same answers anywhere, and nothing half done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DebertaV2Config,
    RobertaConfig,
)

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing.forked import run_forked, start_forked
from adapterhub_fin_plugins.methods.lora import Lora
from adapterhub_fin_registry import Reference
from adapterhub_fin_registry.io.disk import Disk

TEXTS = ["Arlo: profit rose.", "Brent: profit fell.", "Corvo: meets in May.", "Dunel got a late order."]


def registry_of(run: Run) -> ahf.Registry:
    return ahf.Registry(run.version.folder.parents[4])


def recipe(encoder: Path, /, **changes: Any) -> dict[str, Any]:
    plain = {
        "name": "acme/small",
        "base": {"id": "acme/tiny", "path": str(encoder)},
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": "headlines", "rows": 120},
        "training": {"epochs": 1, "max_length": 32},
    }
    return {**plain, **changes}


def test_the_manifest_is_complete(trained: Run) -> None:
    manifest = trained.version.manifest
    assert manifest.method.provider is not None and manifest.method.provider.distribution == "adapterhub-fin"
    assert manifest.method.options["rank"] == 4 and manifest.method.traits == ("additive_low_rank",)
    assert manifest.head is not None and manifest.head.labels == ("negative", "neutral", "positive")
    assert manifest.base.repository == "acme/tiny" and manifest.base.fingerprint == "verified"
    assert manifest.base.structure_digest and manifest.base.weight_probe and manifest.base.tokenizer_digest
    assert manifest.corpus is not None and sum(manifest.corpus.rows.values()) == 48
    assert {entry.input.partition(":")[0] for entry in manifest.knowledge.inputs} == {"base", "corpus", "labels"}
    assert set(manifest.metrics) == {"accuracy", "macro_f1", "mcc"}
    assert manifest.measured_on is not None and manifest.measured_on.rows == manifest.corpus.rows["test"]
    assert manifest.recipe is not None and ahf.Recipe.read(manifest.recipe).name == "acme/tone"
    assert manifest.environment["peft"] and manifest.seed == 0


def test_the_saved_run_runs_again_and_is_the_same_version(encoder: Path) -> None:
    """Seeds, sorted names and no clock in the manifest: the same recipe gives the same digest, so the same version."""
    base = {"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2020-01-01", "evidence": "a test"}
    first = ahf.train(recipe(encoder, base=base))
    again = ahf.train(first.version.manifest.recipe, overrides=[f"base.path={encoder}"])
    assert again.version.digest == first.version.digest and again.version.number == 1


@pytest.mark.parametrize("use", ["load", "attach", "evaluate"])
def test_a_reference_is_parsed_once(trained: Run, encoder: Path, monkeypatch: Any, use: str) -> None:
    """What comes after the face works on the version that was found, and a version may be given instead of a text."""
    texts: list[str] = []
    parse = Reference.parse.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Reference, "parse", classmethod(lambda cls, text: texts.append(text) or parse(cls, text)))
    registry = registry_of(trained)

    def run(reference: Any) -> None:
        if use == "load":
            ahf.load(reference, base=encoder, registry=registry)
        elif use == "attach":
            model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
            ahf.attach(model, reference, tokenizer=AutoTokenizer.from_pretrained(encoder), registry=registry)
        else:
            ahf.evaluate(reference, base=encoder, registry=registry, resamples=1, record=False)

    run(trained.reference)
    run(trained.version)
    assert [text for text in texts if "@" in text] == [trained.reference]  # a bare name is only checked


FRESH = """
import sys, json, numpy, torch, adapterhub_fin as ahf
torch.manual_seed(987)
adapter = ahf.load(sys.argv[1], base=sys.argv[3], registry=ahf.Registry(sys.argv[2]))
numpy.save(sys.argv[4], adapter.logits(json.loads(sys.argv[5])).numpy())
"""


def test_a_fresh_process_with_another_seed_answers_bit_for_bit_the_same(
    trained: Run, encoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "logits.npy"
    root = str(registry_of(trained).root)
    arguments = [trained.reference, root, str(encoder), str(out), json.dumps(TEXTS)]
    run_forked("-c", FRESH, *arguments).check_returncode()
    assert np.abs(np.load(out) - trained.adapter.logits(TEXTS).numpy()).max() == 0.0


def test_plain_peft_loads_the_folder_with_the_same_logits(trained: Run, encoder: Path) -> None:
    folder = registry_of(trained).path(trained.reference)
    torch.manual_seed(55)
    base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    model = PeftModel.from_pretrained(base, str(folder)).eval()
    batch = trained.adapter.tokenizer(TEXTS[:1], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(model(**batch).logits, trained.adapter.logits(TEXTS[:1]))


AUTO = """
import sys, torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer
torch.manual_seed(66)
model = AutoPeftModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=3).eval()
batch = AutoTokenizer.from_pretrained("acme/tiny")([sys.argv[2]], return_tensors="pt")
print(model(**batch).logits.tolist())
"""


def test_auto_peft_model_loads_the_folder_and_its_base_by_id(trained: Run, encoder: Path, tmp_path: Path) -> None:
    """The base is found by the recorded id, in a Hub cache as the Hub's own client lays it out."""
    snapshot = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / ("0" * 40)
    shutil.copytree(encoder, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    folder = str(registry_of(trained).path(trained.reference))
    done = subprocess.run(
        [sys.executable, "-c", AUTO, folder, TEXTS[0]], env=env, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == trained.adapter.logits(TEXTS[:1]).tolist()


def test_one_model_in_memory_serves_several_adapters_each_as_when_alone(trained: Run, encoder: Path) -> None:
    registry = registry_of(trained)
    other = ahf.train(recipe(encoder, method={"name": "lora", "rank": 3}, head={"name": "classify"}))
    here = ahf.Registry()
    alone = ahf.load(other.reference, base=encoder, registry=here).logits(TEXTS)
    backbone = AutoModel.from_pretrained(encoder)
    first = ahf.load(trained.reference, base=backbone, registry=registry)
    second = ahf.load(other.reference, base=backbone, registry=here)
    for _ in range(2):
        assert torch.equal(first.logits(TEXTS), trained.adapter.logits(TEXTS))
        assert torch.equal(second.logits(TEXTS), alone)
    assert first.embed(TEXTS).shape == (4, 32)
    assert not np.allclose(first.embed(TEXTS), second.embed(TEXTS))


def test_two_methods_on_one_model_are_refused_since_they_would_answer_as_a_mixture(trained: Run, encoder: Path) -> None:
    lora = "adapterhub_fin_plugins.methods.lora"
    ahf.register(
        ahf.Method(
            name="other-lora",
            summary="Not ours.",
            target=f"{lora}:Lora",
            options="adapterhub_fin_plugins.methods.options:LoraOptions",
        )
    )
    other = ahf.train(recipe(encoder, method={"name": "other-lora", "rank": 2}))
    backbone = AutoModel.from_pretrained(encoder)
    first = ahf.load(trained.reference, base=backbone, registry=registry_of(trained))
    with pytest.raises(ahf.WrongBase, match="'lora', and one of 'other-lora' beside it"):
        ahf.load(other.reference, base=backbone)
    assert torch.equal(first.logits(TEXTS), trained.adapter.logits(TEXTS))


def test_attach_puts_a_second_adapter_on_a_model_that_carries_one(trained: Run, encoder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    first = ahf.attach(model, trained.reference, registry=registry_of(trained), tokenizer=trained.adapter.tokenizer)
    other = ahf.train(recipe(encoder, method={"name": "lora", "rank": 3}))
    second = ahf.attach(first.model, other.reference, tokenizer=trained.adapter.tokenizer)
    assert torch.equal(first.logits(TEXTS), trained.adapter.logits(TEXTS))
    assert torch.equal(second.logits(TEXTS), other.adapter.logits(TEXTS))


def test_loading_leaves_the_caller_s_seed_and_modes_as_they_were(trained: Run, encoder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    adapter = ahf.attach(model, trained.reference, registry=registry_of(trained), tokenizer=trained.adapter.tokenizer)
    assert torch.equal(torch.rand(3), expected)
    adapter.model.train()
    adapter.predict(TEXTS)
    assert adapter.model.training and torch.is_grad_enabled()
    assert not any(parameter.requires_grad for parameter in adapter.model.parameters())


def test_predictions_are_typed_and_in_order_and_batches_agree_with_single_rows(trained: Run) -> None:
    predictions = trained.adapter.predict(TEXTS)
    assert [type(each) for each in predictions] == [ahf.Prediction] * 4
    assert all(
        abs(sum(each.scores.values()) - 1) < 1e-6 and each.score == each.scores[each.label] for each in predictions
    )
    single = torch.cat([trained.adapter.logits([text]) for text in TEXTS])
    assert torch.allclose(trained.adapter.logits(TEXTS), single, atol=1e-5)
    assert trained.adapter.predict([]) == [] and len(trained.adapter.predict(TEXTS, batch_size=1)) == 4
    with pytest.raises(ahf.BadRecipe, match="list of texts"):
        trained.adapter.predict("one text")


def test_a_classifier_on_a_decoder_answers_the_same_padded_or_not(decoder: Path) -> None:
    run = ahf.train(recipe(decoder, base={"path": str(decoder)}))
    assert run.version.manifest.base.repository is None
    loaded = ahf.load("acme/small")  # the folder is remembered by the base's pin
    single = torch.cat([loaded.logits([text]) for text in TEXTS])
    assert torch.allclose(loaded.logits(TEXTS), single, atol=1e-5)
    assert torch.equal(loaded.logits(TEXTS), run.adapter.logits(TEXTS))


def test_a_base_without_a_name_is_asked_for_where_it_is_not_remembered(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahf.train(recipe(decoder, base={"path": str(decoder)}))
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "another-machine"))
    with pytest.raises(ahf.BaseNotFound, match="--base FOLDER"):
        ahf.load("acme/small")
    assert ahf.load("acme/small", base=decoder).predict(TEXTS)


def test_training_stops_early_and_keeps_the_best_checkpoint(encoder: Path) -> None:
    """At this rate the metric does not move, so that the first epoch stays the best and patience ends the run."""
    training = {"epochs": 9, "max_length": 32, "learning_rate": 1e-9, "patience": 2, "batch_size": 32}
    run = ahf.train(recipe(encoder, training=training))
    assert run.steps == 3 * 3  # the best epoch and two more, of three steps


def test_a_plugin_s_advice_on_layers_is_what_is_adapted(encoder: Path) -> None:
    class Desk:
        @ahf.hookimpl
        def ahf_targets(self, model_type: str, method: str) -> list[str] | None:
            return ["value"] if (model_type, method) == ("bert", "lora") else None

    ahf.register(Desk())
    training = {"epochs": 1, "max_length": 32}
    advised = ahf.train(recipe(encoder, training=training)).version
    assert json.loads((advised.files / "adapter_config.json").read_text())["target_modules"] == ["value"]
    chosen = ahf.train(recipe(encoder, training=training), overrides=["method.targets=[key]"]).version
    assert json.loads((chosen.files / "adapter_config.json").read_text())["target_modules"] == ["key"]


def test_a_later_checkpoint_within_the_tolerance_is_stored(encoder: Path) -> None:
    """At this rate the metric does not move, and B, which starts at zero, goes on growing."""
    training = {"epochs": 3, "max_length": 32, "learning_rate": 1e-9, "batch_size": 32}
    first, last = (
        ahf.train(recipe(encoder, training={**training, "tolerance": tolerance})) for tolerance in (0.0, 0.01)
    )
    assert first.validation == last.validation
    grown = [
        max(
            float(value.abs().max())
            for key, value in load_file(run.version.files / "adapter_model.safetensors").items()
            if "lora_B" in key
        )
        for run in (first, last)
    ]
    assert grown[1] > 1.5 * grown[0] > 0


def test_as_of_finds_a_version_only_after_the_bounds_of_its_data(encoder: Path, tmp_path: Path) -> None:
    lines = [
        f"Company {i} said profit {'rose' if i % 2 else 'fell'} .@{'positive' if i % 2 else 'negative'}"
        for i in range(60)
    ]
    (tmp_path / "Sentences_50Agree.txt").write_text("\n".join(lines), encoding="latin-1")
    base = {"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2013-01-01", "evidence": "a test"}
    ahf.train(recipe(encoder, base=base, corpus={"name": "phrasebank", "path": str(tmp_path)}))
    assert ahf.load("acme/small", as_of="now").reference == "acme/small@1"
    assert ahf.load("acme/small", as_of="2015-01-01").reference == "acme/small@1"
    for before in ("2014-05-01", "2013-06-30"):
        with pytest.raises((ahf.Refused, ahf.NotFound), match="2014-05-01"):
            ahf.load("acme/small", as_of=before)
    with pytest.raises(ahf.Refused):
        ahf.load("acme/small@1", as_of="2013-06-30")


def test_the_strict_tier_counts_what_the_base_knew(encoder: Path) -> None:
    base = {"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2023-06-30", "evidence": "a test"}
    corpus = {"name": "headlines", "rows": 120, "start": "2015-01-01", "end": "2018-01-01"}
    ahf.train(recipe(encoder, base=base, corpus=corpus))
    with pytest.raises((ahf.Refused, ahf.NotFound)):
        ahf.load("acme/small", as_of="2020-01-01")
    assert ahf.load("acme/small", as_of="2020-01-01", include_base=False).reference == "acme/small@1"


def test_a_veto_stops_the_add_and_nothing_is_stored(encoder: Path) -> None:
    class House:
        @ahf.hookimpl
        def ahf_before_add(self, manifest: ahf.Manifest) -> None:
            if manifest.license is None:
                raise ahf.Refused("a license is required")

    from adapterhub_fin.plugin import manager as extensions

    ahf.register(House())
    try:
        with pytest.raises(ahf.Refused, match="a license is required"):
            ahf.train(recipe(encoder))
        assert ahf.Registry().names() == []
        assert ahf.train(recipe(encoder, license="Apache-2.0")).reference == "acme/small@1"
    finally:
        extensions._registered.pop()
        extensions._current = None


class Forgetful(Lora):
    """A method whose configuration says another rank than its tensors have."""

    def plain_config(self, model: Any, adapter_name: str) -> dict[str, Any]:
        config = dict(super().plain_config(model, adapter_name))
        return {**config, "r": config["r"] + 1}


def test_a_run_that_no_load_could_read_back_is_not_stored(encoder: Path) -> None:
    """G 17, 31: its tensors match the model that was trained, and no model that its own settings build."""
    options = "adapterhub_fin_plugins.methods.options:LoraOptions"
    target = f"{__name__}:Forgetful"
    ahf.register(ahf.Method(name="forgetful", summary="A test.", target=target, options=options, peft_type="LORA"))
    with pytest.raises(ahf.WrongTensors, match="what forgetful trained is not stored, since no load could read it bac"):
        ahf.train(recipe(encoder, method={"name": "forgetful", "rank": 2}))
    assert ahf.Registry().names() == []


def test_a_run_that_breaks_is_one_error_and_stores_nothing(encoder: Path, tmp_path: Path, home: Path) -> None:
    """A base with one weight that is no number gives a loss that is none, which stops the run at its first step."""
    model = AutoModel.from_pretrained(encoder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] = float("nan")
    model.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "broken")
    with pytest.raises(ahf.TrainingFailed, match=r"the loss is nan at step 1, in the batch of training examples \d+, "):
        ahf.train(recipe(tmp_path / "broken"))
    assert ahf.Registry().names() == []
    assert not list((home / "runs").iterdir()), "a run without a checkpoint left something behind"


def test_a_killed_training_leaves_no_half_version(encoder: Path, home: Path) -> None:
    code = "import sys, json, adapterhub_fin as ahf; ahf.train(json.loads(sys.argv[1]))"
    training = {"epochs": 50, "max_length": 32, "patience": 50}
    plan = recipe(encoder, training=training, corpus={"name": "headlines", "rows": 300})
    child = start_forked("-c", code, json.dumps(plan))
    deadline = time.monotonic() + 240
    while not list((home / "runs").glob("*/checkpoint-*")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    registry = ahf.Registry()
    assert registry.names() == [] and registry.rows() == []
    assert ahf.train(recipe(encoder)).reference == "acme/small@1"


def test_a_version_whose_bytes_changed_is_refused_by_file_before_the_base_is_looked_for(encoder: Path) -> None:
    run = ahf.train(recipe(encoder))
    weights = run.version.files / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    with pytest.raises(ahf.Corrupted, match="adapter_model.safetensors"):
        ahf.load("acme/small")


def test_a_method_that_is_not_installed_names_what_to_install(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHF_DISABLE_PLUGINS", "shipped")
    with pytest.raises(ahf.PluginError, match="pip install 'adapterhub-fin=="):
        ahf.load(trained.reference, registry=registry_of(trained))


def test_save_takes_a_model_that_another_trainer_made(trained: Run, encoder: Path) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    model = PeftModel.from_pretrained(base, str(trained.version.files), is_trainable=True)
    version = ahf.save(
        model,
        "acme/mine",
        base={"id": "acme/tiny", "knowledge_end": "2019-12-31", "evidence": "its card"},
        corpus={"name": "desk notes", "knowledge_end": "2021-03-01", "evidence": "the desk's own record"},
        tokenizer=trained.adapter.tokenizer,
        labels=["negative", "neutral", "positive"],
    )
    assert version.manifest.knowledge.end == "2021-03-02T11:59:59.999999Z"
    loaded = ahf.load("acme/mine", base=encoder)
    assert torch.equal(loaded.logits(TEXTS), trained.adapter.logits(TEXTS))
    assert loaded.predict(TEXTS)[0].label == trained.adapter.predict(TEXTS)[0].label


def test_an_import_is_declared_and_its_first_load_holds_every_later_one(
    trained: Run, encoder: Path, tmp_path: Path
) -> None:
    from adapterhub_fin.testing import tiny_encoder

    taken = ahf.import_folder(trained.version.files, "acme/imported", labels=["negative", "neutral", "positive"])
    assert taken.version.manifest.base.fingerprint == "declared"
    adapter = ahf.load("acme/imported", base=encoder)
    assert torch.equal(adapter.logits(TEXTS), trained.adapter.logits(TEXTS))
    assert [event["kind"] for event in ahf.Registry().events("acme/imported@1")] == ["fingerprint-verified"]
    other = tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(ahf.WrongBase, match="other weights than acme/tiny"):
        ahf.load("acme/imported", base=other)


def test_a_registry_that_cannot_be_written_is_read_all_the_same(trained: Run, encoder: Path) -> None:
    """The first load of an import would record its pin; where nothing can be written it answers and records nothing."""

    class Frozen(Disk):
        def make(self, folder: Path) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    ahf.import_folder(trained.version.files, "acme/imported")
    frozen = ahf.Registry(disk=Frozen())
    with pytest.raises(ahf.ReadOnly):
        frozen.set_alias("acme/imported", "champion", 1)
    assert ahf.load("acme/imported", base=encoder, registry=frozen).predict(TEXTS)
    assert ahf.Registry().events("acme/imported@1") == []


def test_a_tokenizer_that_pads_on_the_left_answers_as_one_that_pads_on_the_right(trained: Run, encoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder, padding_side="left")
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    adapter = ahf.attach(model, trained.reference, registry=registry_of(trained), tokenizer=tokenizer)
    assert torch.equal(adapter.logits(TEXTS), trained.adapter.logits(TEXTS)) and tokenizer.padding_side == "left"


def test_a_base_that_brings_a_classifier_of_its_own_is_trained_and_loaded_like_any_other(
    encoder: Path, tmp_path: Path
) -> None:
    """With as many labels or with others: the head is the version's, and the base's own is never answered with."""
    for labels in (3, 5):
        folder = tmp_path / f"with-{labels}"
        AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=labels).save_pretrained(folder)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
        run = ahf.train(recipe(encoder, name=f"acme/with-{labels}", base={"path": str(folder)}))
        assert run.version.manifest.head is not None and run.version.manifest.head.modules_to_save == ("classifier",)
        backbone = AutoModel.from_pretrained(folder)
        alone, shared = ahf.load(run.reference), ahf.load(run.reference, base=backbone)
        assert torch.equal(alone.logits(TEXTS), run.adapter.logits(TEXTS))
        assert torch.equal(shared.logits(TEXTS), run.adapter.logits(TEXTS))


def peft_classifier(config: Any, tmp_path: Path, save: list[str] | None) -> tuple[PeftModel, Any]:
    """A PEFT classifier on a base of that configuration, as another trainer makes it."""
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    plan = LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=save)
    return get_peft_model(base, plan).eval(), tmp_path / "base"


SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_a_random_module_that_was_not_saved_is_refused(tmp_path: Path, encoder: Path) -> None:
    """DeBERTa draws a pooler beside its backbone, and PEFT does not save it: every load would answer differently."""
    config = DebertaV2Config(vocab_size=300, **SMALL)
    lossy, _ = peft_classifier(config, tmp_path, None)
    with pytest.raises(ahf.WrongTensors, match="brings no weights for pooler"):
        ahf.save(lossy, "acme/deberta", base="acme/deberta-base")
    lossy.save_pretrained(tmp_path / "folder", save_embedding_layers=False)
    ahf.import_folder(tmp_path / "folder", "acme/deberta")
    backbone = AutoModel.from_pretrained(tmp_path / "base")
    with pytest.raises(ahf.WrongTensors, match="brings no weights for pooler"):
        ahf.load("acme/deberta", base=backbone, tokenizer=AutoTokenizer.from_pretrained(encoder))


def test_a_head_of_several_layers_is_counted_by_its_last(tmp_path: Path) -> None:
    """RoBERTa's head is a dense layer and an output: its labels are the output's rows."""
    model, _ = peft_classifier(RobertaConfig(vocab_size=300, **SMALL), tmp_path, None)
    version = ahf.save(model, "acme/roberta", base="acme/roberta-base", labels=["down", "flat", "up"])
    assert version.manifest.head is not None and version.manifest.head.labels == ("down", "flat", "up")
    taken = ahf.import_folder(version.files, "acme/again")
    assert taken.version.manifest.head is not None
    assert taken.version.manifest.head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_training_that_goes_on_beside_an_attached_version_is_left_alone(trained: Run, encoder: Path) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    own = get_peft_model(base, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    own.train()
    ahf.attach(own, trained.reference, registry=registry_of(trained), tokenizer=trained.adapter.tokenizer)
    assert own.training
