"""PEFT folders of any age come in as they are, are repaired where it is said, or are refused for the true reason."""

from __future__ import annotations

import copy
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf

WEIGHTS, CONFIG, PICKLE = "adapter_model.safetensors", "adapter_config.json", "adapter_model.bin"
LABELS = ["negative", "neutral", "positive"]
TEXTS = ["Arlo: profit rose.", "Brent: profit fell."]
Folder = Callable[..., Path]


def classifier(encoder: Path) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3).eval()


@pytest.fixture
def saved(encoder: Path, tmp_path: Path) -> Folder:
    """A folder that PEFT wrote, each time a new one: its tensors, and its configuration with some keys changed."""

    def make(change: Callable[[dict[str, Any]], object] = lambda config: None, plan: Any = None) -> Path:
        folder = tmp_path / f"theirs-{len(list(tmp_path.glob('theirs-*')))}"
        plan = plan or LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False)
        plan.base_model_name_or_path = "acme/tiny"
        model = get_peft_model(classifier(encoder), plan)
        model.peft_config["default"].base_model_name_or_path = "acme/tiny"
        model.save_pretrained(folder, save_embedding_layers=False)
        config = json.loads((folder / CONFIG).read_text())
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))
        return folder

    return make


def logits(encoder: Path, name: str) -> Tensor:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    return ahf.attach(classifier(encoder), name, tokenizer=tokenizer).logits(TEXTS)


def plain_logits(encoder: Path, folder: Path) -> Tensor:
    batch = AutoTokenizer.from_pretrained(encoder)(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        answer: Tensor = PeftModel.from_pretrained(classifier(encoder), str(folder)).eval()(**batch).logits
    return answer


def as_pickle(folder: Path, value: Any = None) -> Path:
    """The same folder as PEFT before 0.6 wrote it: a pickle, here with shared and transposed tensors in it."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    first, second = [name for name in tensors if "query.lora_A" in name]
    tensors[second] = tensors[first]
    up = next(name for name in tensors if "lora_B" in name)
    tensors[up] = tensors[up].T.contiguous().T
    torch.save(tensors if value is None else value, folder / PICKLE)
    return folder


class TestPickles:
    def test_on_request_its_tensors_are_stored_as_safetensors(self, saved: Folder, encoder: Path) -> None:
        folder = as_pickle(saved())
        expected = plain_logits(encoder, folder)
        with pytest.raises(ahf.NotAnAdapter, match="is a pickle.*--allow-pickle.*save_pretrained"):
            ahf.import_folder(folder, "acme/pickled")
        taken = ahf.import_folder(folder, "acme/pickled", allow_pickle=True)
        stored = torch.load(folder / PICKLE, weights_only=True)
        kept = load_file(taken.version.files / WEIGHTS)
        assert stored.keys() == kept.keys() and all(torch.equal(stored[name], kept[name]) for name in stored)
        assert torch.equal(logits(encoder, "acme/pickled"), expected)
        assert taken.repairs == [f"{PICKLE}: its tensors are stored as {WEIGHTS}"] and PICKLE not in taken.dropped
        assert len(taken.version.record["origin"]["converted"][PICKLE]) == 64

    def test_it_is_not_read_where_there_are_safetensors(self, saved: Folder) -> None:
        folder = saved()
        (folder / PICKLE).write_bytes(b"anything at all")
        assert ahf.import_folder(folder, "acme/both", allow_pickle=True).dropped == ["README.md", PICKLE]

    def test_one_that_would_run_code_runs_none(self, saved: Folder, tmp_path: Path) -> None:
        struck = tmp_path / "struck"

        class Hostile:
            def __reduce__(self) -> tuple[Any, ...]:
                return (os.mkdir, (str(struck),))

        for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
            folder = saved()
            (folder / WEIGHTS).unlink()
            write({"weight": Hostile()}, folder / PICKLE)
            with pytest.raises(ahf.NotAnAdapter, match="can't be read as tensors alone"):
                ahf.import_folder(folder, "acme/hostile", allow_pickle=True)
        assert not struck.exists() and ahf.Registry().names() == []

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ([torch.zeros(2)], "no tensors by name, but a list"),
            ({}, "no tensors by name"),
            ({"state_dict": {"a": torch.zeros(2)}}, "holds dict under 'state_dict'"),
            ({"epoch": 3}, "holds int under 'epoch'"),
            ({"a": torch.zeros(2, 2).to_sparse()}, "can't store"),
            ({"a": torch.zeros(1).expand(2**40)}, "beyond what a version may hold"),
        ],
    )
    def test_what_is_no_table_of_tensors_is_refused(self, saved: Folder, value: Any, said: str) -> None:
        with pytest.raises(ahf.NotAnAdapter, match=said):
            ahf.import_folder(as_pickle(saved(), value), "acme/odd", allow_pickle=True)

    @pytest.mark.parametrize(
        "data", [b"", b"\x80\x04", b"PK\x03\x04 and no more", b"version https://git-lfs.github.com/spec"]
    )
    def test_a_cut_one_is_refused(self, saved: Folder, data: bytes) -> None:
        folder = saved()
        (folder / WEIGHTS).unlink()
        (folder / PICKLE).write_bytes(data)
        with pytest.raises(ahf.NotAnAdapter, match="git lfs pull" if b"lfs" in data else "can't be read"):
            ahf.import_folder(folder, "acme/cut", allow_pickle=True)


class TestOldConfigurations:
    def test_one_that_needs_nothing_is_stored_byte_for_byte(self, saved: Folder) -> None:
        folder = saved()
        taken = ahf.import_folder(folder, "acme/verbatim")
        assert (taken.version.files / CONFIG).read_bytes() == (folder / CONFIG).read_bytes()
        assert (taken.version.files / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
        assert (taken.repairs, taken.warnings) == ([], []) and taken.version.record["origin"]["dropped"] == [
            "README.md"
        ]

    def test_of_peft_0_2_with_its_own_keys_and_without_the_newer_ones(self, saved: Folder, encoder: Path) -> None:
        def age(config: dict[str, Any]) -> None:
            kept = ("base_model_name_or_path", "bias", "fan_in_fan_out", "lora_alpha", "lora_dropout", "peft_type", "r")
            old = {key: config[key] for key in (*kept, "target_modules", "task_type")}
            config.clear()
            config.update(old | {"enable_lora": None, "merge_weights": False, "modules_to_save": None})

        folder = saved(age)
        taken = ahf.import_folder(folder, "acme/old")
        assert (taken.version.files / CONFIG).read_bytes() == (folder / CONFIG).read_bytes() and not taken.warnings
        assert torch.equal(logits(encoder, "acme/old"), plain_logits(encoder, folder))

    def test_types_spelled_otherwise_are_spelled_as_peft_reads_them(self, saved: Folder, encoder: Path) -> None:
        expected = plain_logits(encoder, saved())
        folder = saved(lambda config: config.update(peft_type="PeftType.LORA", task_type="seq_cls"))
        (folder / CONFIG).write_bytes(b"\xef\xbb\xbf" + (folder / CONFIG).read_bytes())
        with pytest.raises(Exception, match="BOM|Lora|LORA"):
            plain_logits(encoder, folder)
        taken = ahf.import_folder(folder, "acme/spelled")
        assert [said.partition(" ")[2].split()[0] for said in taken.repairs] == ["removed", "peft_type", "task_type"]
        assert taken.version.record["origin"]["repairs"] == taken.repairs
        assert torch.equal(logits(encoder, "acme/spelled"), expected)
        assert torch.equal(plain_logits(encoder, ahf.Registry().path("acme/spelled")), expected)

    def test_adalora_without_its_schedule_s_length(self, saved: Folder, encoder: Path) -> None:
        plan = AdaLoraConfig(target_modules=["query"], task_type="SEQ_CLS", total_step=10, tinit=2, tfinal=3)
        expected = plain_logits(encoder, saved(plan=copy.deepcopy(plan)))
        folder = saved(lambda config: config.update(total_step=None), plan)
        with pytest.raises(ValueError, match="total_step"):
            plain_logits(encoder, folder)
        taken = ahf.import_folder(folder, "acme/adalora")
        assert "total_step was not set and is 6" in taken.repairs[0]
        assert torch.equal(logits(encoder, "acme/adalora"), expected)

    def test_names_that_hold_the_runtime_name(self, saved: Folder, encoder: Path) -> None:
        """As a checkpoint of the whole state has them; plain PEFT finds no place for them, and says nothing."""
        folder = saved()
        expected = plain_logits(encoder, folder)
        tensors = load_file(folder / WEIGHTS)
        found = {
            name.replace(".weight", ".default.weight") if ".lora_" in name else name: t for name, t in tensors.items()
        }
        for part in ("weight", "bias"):
            head = found.pop(f"base_model.model.classifier.{part}")
            found[f"base_model.model.classifier.modules_to_save.default.{part}"] = head
            found[f"base_model.model.classifier.original_module.{part}"] = torch.zeros_like(head)
        save_file(found, folder / WEIGHTS)
        taken = ahf.import_folder(folder, "acme/runtime")
        assert len(taken.repairs) == 2 and "original_module" in taken.repairs[1]
        assert torch.equal(logits(encoder, "acme/runtime"), expected)
        assert load_file(taken.version.files / WEIGHTS).keys() == tensors.keys()
        save_file({**found, **{name: tensor.clone() for name, tensor in tensors.items()}}, folder / WEIGHTS)
        with pytest.raises(ahf.NotAnAdapter, match="keep one"):
            ahf.import_folder(folder, "acme/runtime")

    def test_what_a_newer_peft_wrote_is_stored_and_not_loaded_otherwise_than_it_was_meant(
        self, saved: Folder, encoder: Path
    ) -> None:
        folder = saved(lambda config: config.update(use_tomorrow=True, not_used=None, peft_version="9.1.0"))
        taken = ahf.import_folder(folder, "acme/newer")
        assert (
            len(taken.warnings) == 1 and "sets use_tomorrow" in taken.warnings[0] and "peft 9.1.0" in taken.warnings[0]
        )
        with pytest.raises(ahf.PluginError, match="use_tomorrow"):
            logits(encoder, "acme/newer")

    def test_a_type_that_this_peft_lacks_is_stored_like_any_other(self, saved: Folder, encoder: Path) -> None:
        folder = saved(lambda config: config.update(peft_type="BONE"))  # removed, in favour of MISS
        taken = ahf.import_folder(folder, "acme/bone")
        method = taken.version.manifest.method
        assert (method.name, method.options["r"]) == ("peft:bone", 2) and "has no type 'BONE'" in taken.warnings[0]
        assert ahf.Registry().verify("acme/bone").reference == "acme/bone@1"
        with pytest.raises(ahf.PluginError, match="peft:bone.*install"):
            logits(encoder, "acme/bone")

    def test_options_that_no_recipe_may_ask_for_are_kept_by_the_generic_type(
        self, saved: Folder, encoder: Path
    ) -> None:
        folder = saved(lambda config: config.update(lora_alpha=-4))
        assert ahf.import_folder(folder, "acme/negative").version.manifest.method.name == "peft:lora"
        assert torch.equal(logits(encoder, "acme/negative"), plain_logits(encoder, folder))

    @pytest.mark.parametrize(
        "path", ["/home/me/models/tiny", "../tiny", "~/tiny", "C:\\tiny", "a/b/c", "my model", 5, None]
    )
    def test_a_base_by_a_path_is_not_recorded(self, saved: Folder, path: Any) -> None:
        folder = saved(lambda config: config.update(base_model_name_or_path=path))
        taken = ahf.import_folder(folder, "acme/path")
        assert (taken.version.manifest.base.repository, taken.version.manifest.base.fingerprint) == (None, "unknown")
        assert len(taken.warnings) == 1 and "--base ID" in taken.warnings[0]
        again = ahf.import_folder(folder, "acme/named", base="acme/tiny")
        assert again.version.manifest.base.repository == "acme/tiny" and not again.warnings

    def test_a_module_whose_name_ends_as_the_head_s_is_the_head_s(self, saved: Folder) -> None:
        """As PEFT counts: DistilBERT's pre_classifier is a classifier, and travels."""
        folder = saved()
        tensors = load_file(folder / WEIGHTS)
        save_file({**tensors, "base_model.model.pre_classifier.weight": torch.ones(2, 2)}, folder / WEIGHTS)
        head = ahf.import_folder(folder, "acme/pre").version.manifest.head
        assert head is not None and head.modules_to_save == ("classifier", "pre_classifier")


def test_an_untrained_adapter_is_taken_with_a_warning(saved: Folder) -> None:
    plan = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")  # lora_B begins at zero
    folder = saved(plan=plan)
    assert "every lora_B (2) is zero" in ahf.import_folder(folder, "acme/idle").warnings[0]
    tensors = load_file(folder / WEIGHTS)
    one = next(name for name in tensors if "lora_B" in name)
    save_file({**tensors, one: torch.ones_like(tensors[one])}, folder / WEIGHTS)
    assert not ahf.import_folder(folder, "acme/half-trained").warnings


def test_a_base_that_is_named_is_declared_with_its_revision(saved: Folder) -> None:
    folder = saved(lambda config: config.update(revision="0" * 40))
    base = ahf.import_folder(folder, "acme/theirs", base="acme/tiny").version.manifest.base
    assert (base.fingerprint, base.repository, base.revision) == ("declared", "acme/tiny", "0" * 40)
    given = {"id": "acme/tiny", "revision": "1" * 40}
    assert ahf.import_folder(folder, "acme/given", base=given).version.manifest.base.revision == "1" * 40


def test_dates_are_asserted_with_evidence_or_bounded_by_the_import(saved: Folder) -> None:
    taken = ahf.import_folder(
        saved(),
        "acme/dated",
        base={"knowledge_end": "2019-12-31", "evidence": "its card"},
        corpus={"knowledge_end": "2021-03-01", "evidence": "the desk's record"},
    )
    inputs = {each.input: each for each in taken.version.manifest.knowledge.inputs}
    assert (inputs["base"].kind, inputs["base"].evidence) == ("asserted", "its card")
    assert inputs["corpus:unknown"].at == "2021-03-02T11:59:59.999999Z"  # the end of that day in the last zone
    assert taken.version.manifest.base.repository == "acme/tiny"
    assert ahf.Registry().resolve("acme/dated", as_of="2021-03-03").number == 1
    with pytest.raises(ahf.BadRecipe, match="go together"):
        ahf.import_folder(saved(), "acme/dated", corpus={"knowledge_end": "2021-03-01"})
    nameless = saved(lambda config: config.update(base_model_name_or_path=None))
    with pytest.raises(ahf.BadRecipe, match="give its id too"):
        ahf.import_folder(nameless, "acme/dated", base={"knowledge_end": "2019-12-31", "evidence": "its card"})


def test_the_links_of_the_hub_s_cache_are_followed_and_no_others(saved: Folder, tmp_path: Path) -> None:
    plain, repository = saved(), tmp_path / "models--acme--tone"
    snapshot, blobs = repository / "snapshots" / "0abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate((CONFIG, WEIGHTS)):
        (plain / name).rename(blobs / str(number))
        (snapshot / name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    (tmp_path / "secret").write_text("a key of someone's")
    (snapshot / "notes.txt").symlink_to(tmp_path / "secret")
    taken = ahf.import_folder(snapshot, "acme/cached")
    assert taken.dropped == ["notes.txt"] and not (taken.version.files / "notes.txt").exists()
    (snapshot / WEIGHTS).unlink()
    (blobs / "1").rename(tmp_path / "elsewhere")
    (snapshot / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ahf.NotAnAdapter, match="is a link to elsewhere"):
        ahf.import_folder(snapshot, "acme/cached")


def test_a_checkpoint_s_whole_model_is_left_behind(saved: Folder) -> None:
    folder = saved()
    save_file({"w": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "optimizer.pt").write_bytes(b"state")
    assert ahf.import_folder(folder, "acme/checkpoint").dropped == ["README.md", "model.safetensors", "optimizer.pt"]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
LORA = b'{"peft_type": "LORA"}'
LOOKALIKES: dict[str, tuple[dict[str, bytes], str]] = {
    "empty": ({}, "is empty"),
    "gguf": ({"model.gguf": b"GGUF"}, "GGUF file .model.gguf."),
    "mlx without a configuration": ({"adapters.safetensors": b"x"}, "mlx-lm: convert"),
    "mlx": ({CONFIG: b'{"fine_tune_type": "lora"}', "adapters.safetensors": b"x"}, "no peft_type.*mlx-lm: convert"),
    "diffusers": ({"pytorch_lora_weights.safetensors": b"x"}, "LoRA of diffusers"),
    "whole model": ({"config.json": b"{}", "model.safetensors": b"x"}, "whole model .model.safetensors."),
    "whole model in shards": ({"model.safetensors.index.json": b"{}"}, "whole model in shards"),
    "weights alone": ({WEIGHTS: b"x"}, "weights and no adapter_config.json"),
    "state of a run": ({"optimizer.pt": b"x", "scheduler.pt": b"x"}, "state of a training run .optimizer.pt."),
    "something else": ({"data.csv": b"x"}, "holds no adapter_config.json .it holds data.csv."),
    "a folder of folders": ({f"tone/{CONFIG}": LORA}, "but tone in it does: give that folder"),
    "pointer for a configuration": (
        {CONFIG: LFS, WEIGHTS: LFS},
        "adapter_config.json is a git LFS pointer.*git lfs pull",
    ),
    "pointer for weights": ({CONFIG: LORA, WEIGHTS: LFS}, "theirs/adapter_model.safetensors is a git LFS pointer"),
    "no JSON": ({CONFIG: b"{", WEIGHTS: b"x"}, "is not JSON"),
    "nested beyond sense": ({CONFIG: b"[" * 100_000, WEIGHTS: b"x"}, "is not JSON"),
    "no peft_type": ({CONFIG: b'{"r": 8}', WEIGHTS: b"x"}, "no peft_type.*save_pretrained"),
    "peft_type of another kind": ({CONFIG: b'{"peft_type": ["LORA"]}', WEIGHTS: b"x"}, "no peft_type"),
    "no object": ({CONFIG: b"[]", WEIGHTS: b"x"}, "no peft_type"),
    "of the library adapters": ({CONFIG: b'{"config": {}, "model_name": "bert"}'}, "library adapters"),
    "configuration of a model": ({CONFIG: b'{"model_type": "bert"}'}, "whole model's"),
    "configuration alone": ({CONFIG: LORA}, "a configuration and no weights"),
    "shards of an adapter": ({CONFIG: LORA, "adapter_model-00001-of-00002.safetensors": b"x"}, "adapter in shards"),
    "other weights": ({CONFIG: LORA, "model.safetensors": b"x"}, "holds no adapter_model.safetensors, but model.safet"),
    "cut weights": (
        {CONFIG: LORA, WEIGHTS: b"\x10"},
        "theirs/adapter_model.safetensors isn't a valid safetensors file",
    ),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_lookalikes_are_told_apart(name: str, tmp_path: Path) -> None:
    files, said = LOOKALIKES[name]
    folder = tmp_path / "theirs"
    folder.mkdir()
    for path, data in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    with pytest.raises(ahf.NotAnAdapter, match=said) as caught:
        ahf.import_folder(folder, "acme/none")
    assert "\n" not in str(caught.value) and ahf.Registry().names() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.gguf", "GGUF"),
        ("tone.zip", "archive: unpack"),
        (WEIGHTS, "is a file: give the folder"),
        ("no", "no folder"),
    ],
)
def test_what_is_no_folder_is_told_apart(name: str, said: str, tmp_path: Path) -> None:
    if name.endswith(".zip"):
        zipfile.ZipFile(tmp_path / name, "w").close()
    elif name != "no":
        (tmp_path / name).write_bytes(b"GGUF" if name.endswith("gguf") else b"x")
    with pytest.raises(ahf.NotAnAdapter, match=said):
        ahf.import_folder(tmp_path / name, "acme/none")
