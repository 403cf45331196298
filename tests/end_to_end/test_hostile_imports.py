"""Whatever a foreign folder holds, its import ends in a version that can be read, or in one sentence of ours."""

from __future__ import annotations

import functools
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PrefixTuningConfig, PromptEncoderConfig
from safetensors.torch import save_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.base import provenance
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.peft_method import plain
from adapterhub_fin_registry.model.file_rules import size_limit

WEIGHTS, CONFIG, PICKLE = "adapter_model.safetensors", "adapter_config.json", "adapter_model.bin"
PLACE = "base_model.model.encoder.query"
Folder = Callable[..., Path]

PLAIN = {
    "LORA": LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS", modules_to_save=["classifier"]),
    "ADALORA": AdaLoraConfig(target_modules=["query"], total_step=10, tinit=2, tfinal=3),
    "PREFIX_TUNING": PrefixTuningConfig(num_virtual_tokens=4, num_layers=2, token_dim=8, task_type="CAUSAL_LM"),
    "P_TUNING": PromptEncoderConfig(num_virtual_tokens=4, num_layers=2, token_dim=8),
    "IA3": IA3Config(target_modules=["query"], feedforward_modules=[]),
}
MISSING = object()
HOSTILE = {
    "missing": MISSING, "null": None, "true": True, "below": -1, "beyond": 2**70, "infinite": float("inf"), "no": "",
    "half a pair": "\ud800", "path": "../../etc/passwd\0", "mixed": ["a", 1, None, ["b"]], "object": {"a": [{}]},
    "deep": functools.reduce(lambda inner, _: [inner], range(400), "a"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fsync, and the installed releases looked up once: a thousand folders are imported here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(provenance, "version", functools.cache(provenance.version))


@pytest.fixture
def theirs(tmp_path: Path) -> Folder:
    """A folder with a configuration of these keys, and with a LoRA's weights and a head's."""

    def make(**config: Any) -> Path:
        folder = tmp_path / "theirs"
        folder.mkdir(exist_ok=True)
        (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "target_modules": ["query"], **config}))
        tensors = {f"{PLACE}.lora_A.weight": torch.ones(2, 4), f"{PLACE}.lora_B.weight": torch.ones(4, 2)}
        save_file({**tensors, "base_model.model.classifier.weight": torch.ones(3, 4)}, folder / WEIGHTS)
        return folder

    return make


@pytest.mark.parametrize("kind", [*PLAIN, "UNKNOWN"])
def test_no_value_of_any_field_ends_in_another_error(kind: str, theirs: Folder) -> None:
    config = plain(PLAIN[kind].to_dict()) if kind in PLAIN else {**plain(PLAIN["IA3"].to_dict()), "peft_type": kind}
    if "num_virtual_tokens" in config:
        config["task_type"] = "FEATURE_EXTRACTION"  # G 28: a prompt without a task is refused
    folder, registry = theirs(**config), ahf.Registry()
    assert ahf.import_folder(folder, "acme/plain").version.number == 1
    stored = 0
    for field in config:
        for called, value in HOSTILE.items():
            changed = {
                key: value if key == field else config[key] for key in config if key != field or value is not MISSING
            }
            (folder / CONFIG).write_text(json.dumps(changed))
            name = f"acme/{field.lower().replace('_', '-')}-{called.replace(' ', '-')}"
            try:
                version = ahf.import_folder(folder, name).version
            except ahf.AdapterHubError as error:
                assert "\n" not in str(error), (field, called)
                continue
            except Exception as error:
                raise AssertionError(f"{field} that is {called} ends in {type(error).__name__}: {error}") from error
            assert registry.resolve(name).manifest.digest == version.digest
            stored += 1
    assert stored > 4 * len(config)  # most of what is odd is stored as it came, and told when it is loaded


@pytest.mark.parametrize("key", ["tinit", "tfinal"])
@pytest.mark.parametrize("value", ["x", [1], -1, 1.5, float("inf"), True])
def test_a_schedule_that_counts_no_steps_is_not_summed_up(key: str, value: Any, theirs: Folder) -> None:
    folder = theirs(**{"peft_type": "ADALORA", "tinit": 2, "tfinal": 3, key: value})
    with pytest.raises(ahf.NotAnAdapter, match=f"{CONFIG}: {key} is .* must be a number of steps"):
        ahf.import_folder(folder, "acme/odd")


def test_options_that_a_plugin_of_ours_can_t_read_are_kept_by_the_generic_type(theirs: Folder) -> None:
    for kind, key, value in (
        ("LORA", "lora_alpha", "x"),
        ("LORA", "target_modules", ["query", 1]),
        ("ADALORA", "r", []),
    ):
        taken = ahf.import_folder(theirs(peft_type=kind, total_step=9, **{key: value}), "acme/odd")
        method = taken.version.manifest.method
        assert method.name == (f"peft:{kind.lower()}" if key != "r" else "adalora")
        assert method.name == "adalora" or method.options[key] == value
    taken = ahf.import_folder(theirs(peft_type="PREFIX_TUNING"), "acme/odd")  # without num_virtual_tokens
    assert taken.version.manifest.method.name == "peft:prefix-tuning"


def test_a_plugin_that_breaks_on_a_configuration_is_named(
    theirs: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strange_method.py").write_text(
        "from adapterhub_fin.plugin.interfaces import MethodImplementation\n"
        "class Strange(MethodImplementation):\n"
        "    @classmethod\n"
        "    def options_from(cls, config):\n"
        "        return {'rank': config['rank']}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    ahf.register(
        Method(name="strange", summary="A third party's.", target="strange_method:Strange", peft_type="STRANGE")
    )
    with pytest.raises(ahf.PluginError, match="the method strange of plugin strange .*KeyError: 'rank'.*author"):
        ahf.import_folder(theirs(peft_type="STRANGE"), "acme/odd")


@pytest.mark.parametrize(
    ("shape", "said"), [([], "can't be counted"), ([2**40, 0], "of 1099511627776 labels: give them")]
)
def test_a_head_of_no_such_shape_is_refused(shape: list[int], said: str, theirs: Folder) -> None:
    folder = theirs(task_type="SEQ_CLS")
    data = b"\0" * (0 if shape else 4)
    name = "base_model.model.classifier.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + data)
    with pytest.raises(ahf.NotAnAdapter, match=said):
        ahf.import_folder(folder, "acme/odd")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, PICKLE])
def test_what_is_larger_than_a_version_may_hold_is_not_read(name: str, theirs: Folder) -> None:
    folder = theirs()
    if name == PICKLE:
        (folder / WEIGHTS).unlink()
    limit = size_limit(WEIGHTS if name == PICKLE else name)
    with (folder / name).open("ab") as file:
        file.truncate(limit + 1)  # which takes no room on the disk
    with pytest.raises(ahf.NotAnAdapter, match=f"{folder / name} has more than the {limit} bytes"):
        ahf.import_folder(folder, "acme/large", allow_pickle=True)


def test_another_file_that_is_too_large_is_left_behind(theirs: Folder) -> None:
    folder = theirs()
    with (folder / "notes.txt").open("wb") as file:
        file.truncate(size_limit("notes.txt") + 1)
    (folder / "few.txt").write_text("words")
    taken = ahf.import_folder(folder, "acme/large")
    assert taken.dropped == ["notes.txt"] and (taken.version.files / "few.txt").is_file()


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, PICKLE])
def test_nothing_is_read_through_a_link_to_elsewhere(name: str, theirs: Folder, tmp_path: Path) -> None:
    """Not even to say what is wrong with it: what it leads to may be a key, or a device."""
    folder = theirs()
    (folder / WEIGHTS).unlink(missing_ok=name != CONFIG)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    for target in (Path("/etc/passwd"), tmp_path / "pipe", tmp_path / "nothing", tmp_path):
        (folder / name).symlink_to(target)
        with pytest.raises(ahf.NotAnAdapter, match=f"{folder / name} is a link to elsewhere: put the file itself"):
            ahf.import_folder(folder, "acme/linked", allow_pickle=True)
        (folder / name).unlink()


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, PICKLE])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_where_one_is_wanted_is_said_to_be(
    name: str, make: Callable[[Path], object], theirs: Folder
) -> None:
    folder = theirs()
    (folder / WEIGHTS).unlink()
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(ahf.NotAnAdapter, match=f"{folder / name} isn't a plain file: put the file itself"):
        ahf.import_folder(folder, "acme/odd", allow_pickle=True)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tokenizer.json": b"version https://git-lfs.github.com/spec/v1\n"}, "theirs/tokenizer.json is a git LFS"),
        ({"Notes.txt": b"a", "notes.txt": b"b"}, "theirs holds 'Notes.txt' and 'notes.txt'"),
    ],
)
def test_what_the_registry_refuses_is_named_as_the_user_knows_it(
    files: dict[str, bytes], said: str, theirs: Folder
) -> None:
    folder = theirs()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(ahf.NotAnAdapter, match=said) as caught:
        ahf.import_folder(folder, "acme/odd")
    assert "ahf-import-" not in str(caught.value)


def test_what_can_t_be_read_or_copied_says_so(theirs: Folder) -> None:
    with pytest.raises(ahf.NotAnAdapter, match="can't be read .File name too long."):
        ahf.import_folder("a" * 300, "acme/odd")
    folder = theirs()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))  # as a full disk, for every file of this process
    try:
        with pytest.raises(ahf.WriteFailed, match=f"{folder} can't be copied to .*make room there") as caught:
            ahf.import_folder(folder, "acme/odd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError) and ahf.Registry().names() == []
