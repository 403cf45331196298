"""Adapters by name in vLLM: its interface is stood in for, the registry, the bases and the files are real."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_corpus, tiny_decoder
from adapterhub_fin.testing.fresh import run_python

STAND_INS = Path(__file__).parent / "stand_ins"
EXAMPLES = Path(__file__).parents[2] / "examples"
GROUP = "vllm.general_plugins"
PLUGINS: dict[str, str] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "entry-points"
][GROUP]
Ask = Callable[[str, str], Any]


def plugin() -> Callable[[], None]:
    """What vLLM finds in the entry-point group and calls in each of its processes."""
    ((name, value),) = PLUGINS.items()
    loaded: Callable[[], None] = EntryPoint(name, value, GROUP).load()
    return loaded


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Ask as vLLM does: `(served base, requested name)`, of every resolver that is registered."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    plugin()()
    from vllm.lora.resolver import LoRAResolverRegistry  # type: ignore[import-not-found]

    (name,) = LoRAResolverRegistry.get_supported_resolvers()
    resolver = LoRAResolverRegistry.get_resolver(name)
    yield lambda base, wanted: asyncio.run(resolver.resolve_lora(base, wanted))
    for module in [each for each in sys.modules if each.partition(".")[0] == "vllm"]:
        del sys.modules[module]


@pytest.fixture(scope="module")
def trained_notes(tmp_path_factory: pytest.TempPathFactory, decoder: Path) -> Path:
    """A registry with acme/notes@1, whose base is pinned by its weights and has the id acme/tiny."""
    root = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        ahf.train(
            name="acme/notes",
            base={"id": "acme/tiny", "path": str(decoder)},
            method={"name": "lora", "rank": 2},
            head="causal-lm",
            corpus={"name": tiny_corpus()},
            training={"epochs": 1, "max_length": 32},
            registry=ahf.Registry(root / "home"),
        )
    return root / "home"


@pytest.fixture
def notes(trained_notes: Path, home: Path) -> ahf.Version:
    shutil.copytree(trained_notes, home)
    return ahf.Registry().resolve("acme/notes@1")


@pytest.fixture
def imported(decoder: Path, tmp_path: Path) -> Callable[..., ahf.Version]:
    """A version that was trained elsewhere, whose base is only declared."""

    def make(name: str = "acme/brought", base: str = "acme/tiny", **options: Any) -> ahf.Version:
        torch.manual_seed(len(options))
        plan = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False, **options)
        folder = tmp_path / f"folder-{len(list(tmp_path.glob('folder-*')))}"
        get_peft_model(AutoModelForCausalLM.from_pretrained(decoder), plan).save_pretrained(
            folder, save_embedding_layers=False
        )
        return ahf.import_folder(folder, name, base=base).version

    return make


def test_the_plugin_is_called_in_every_process_and_imports_vllm_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import sys
from adapterhub_fin.exporting.vllm_resolver import register
assert not {"vllm", "torch", "transformers", "peft"} & set(sys.modules), "imported before it is needed"
register()
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry
((name, resolver),) = LoRAResolverRegistry.resolvers.items()
register()
assert LoRAResolverRegistry.resolvers == {name: resolver}
assert isinstance(resolver, LoRAResolver)
assert not {"torch", "transformers", "peft"} & set(sys.modules)
print(name)
"""
    path = os.pathsep.join(filter(None, [str(STAND_INS), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    done = run_python("-c", program)
    assert done.strip() == "adapterhub_fin"


def test_the_example_finds_a_version_through_the_installed_plugin(
    notes: ahf.Version, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site" / "adapterhub_fin_beside_vllm-0.dist-info"  # as pip writes it from pyproject.toml
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.4\nName: adapterhub-fin-beside-vllm\nVersion: 0\n")
    found = "".join(f"{name} = {value}\n" for name, value in PLUGINS.items())
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\n{found}")
    path = [str(STAND_INS), str(installed.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    printed = run_python(str(EXAMPLES / "vllm_by_name.py"), "acme/notes@1", str(decoder), "Margins", "Guidance")
    assert printed.splitlines() == [f"Margins {notes.files}", f"Guidance {notes.files}"]
    with pytest.raises(AssertionError, match="acme/other is not served: the log says why"):
        run_python(str(EXAMPLES / "vllm_by_name.py"), "acme/other", str(decoder), "Margins")


class TestNames:
    def test_every_way_to_name_a_version_gives_its_own_folder(self, ask: Ask, notes: ahf.Version) -> None:
        ahf.Registry().set_alias("acme/notes", "champion", 1)
        for name in ("acme/notes@champion", "acme/notes@1", "acme/notes", f"acme/notes@{notes.digest}", notes.digest):
            request = ask("acme/tiny", name)
            assert (request.lora_name, request.lora_path) == (name, str(notes.files))
            assert 0 < request.lora_int_id < 2**31

    def test_an_alias_that_moves_leaves_what_was_handed_out_alone(
        self, ask: Ask, notes: ahf.Version, imported: Callable[..., ahf.Version]
    ) -> None:
        registry = ahf.Registry()
        registry.set_alias("acme/notes", "champion", 1)
        first = ask("acme/tiny", "acme/notes@champion")
        second = imported("acme/notes")
        registry.set_alias("acme/notes", "champion", 2)
        assert first.lora_path == str(notes.files) and registry.path("acme/notes@1") == notes.files
        again = ask("acme/tiny", "acme/notes@champion")
        assert again.lora_path == str(second.files) and again.lora_int_id != first.lora_int_id

    @pytest.mark.parametrize(
        "name",
        [
            *("../../etc", "/etc/passwd", "acme/../acme/notes", "acme/notes/../../..", "acme/notes@../1", "~/.ssh/id"),
            *("acme/notes\0", "acme/\0notes", "", " ", "@", "acme", "acme/Notes", "acme/notes@1@1", "..", "."),
            *("acme/notes@v1", "acme/notes@0", "acme/notes@99", "acme/none", "sha256:" + "0" * 64, "con/nul"),
            *("hf://acme/notes", "hf://../..", "file:///etc/passwd", "\n\r\x1b[2J", "\ud800/x", "a/" * 100_000),
        ],
        ids=lambda name: repr(name[:20]),
    )
    def test_a_name_that_is_none_is_answered_none_and_touches_nothing(
        self, ask: Ask, notes: ahf.Version, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = sorted(tmp_path.rglob("*"))
        with caplog.at_level(logging.WARNING):
            assert ask("acme/tiny", name) is None and ask("acme/tiny", name) is None
        assert sorted(tmp_path.rglob("*")) == before
        (said,) = caplog.records  # once, and short, whoever asks how often
        assert len(said.getMessage()) < 1200 and "\n" not in said.getMessage() and "\x1b" not in said.getMessage()

    def test_a_hub_is_asked_only_for_what_the_operator_allows(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for allowed, refused in (("", True), ("desk/*, acme/tone", True), ("acme/n*", False), ("acme/notes", False)):
            caplog.clear()
            monkeypatch.setenv("AHF_VLLM_HUB", allowed)
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")
            assert ask("acme/tiny", f"hf://acme/notes@v{len(allowed) + 1}") is None  # there is no such repository
            assert ("in AHF_VLLM_HUB" in caplog.text) is refused

    def test_what_the_registry_can_t_give_is_none(
        self, ask: Ask, notes: ahf.Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        weights = notes.files / "adapter_model.safetensors"
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
        assert ask("acme/tiny", "acme/notes@1") is None
        assert "Corrupted" in caplog.text

    def test_what_the_policy_refuses_is_none(
        self, ask: Ask, notes: ahf.Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "ahf.toml").write_text('[policy]\nallowed_bases = ["firm/*"]\n')
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AHF_CONFIG", str(tmp_path / "ahf.toml"))
            assert ask("acme/tiny", "acme/notes@1") is None
        assert "allowed_bases" in caplog.text
        assert ask("acme/tiny", "acme/notes@1") is not None


class TestBases:
    def test_a_folder_is_held_to_the_pin(
        self, ask: Ask, notes: ahf.Version, decoder: Path, encoder: Path, tmp_path: Path, caplog: Any
    ) -> None:
        assert ask(str(decoder), "acme/notes@1").lora_path == str(notes.files)
        half = tmp_path / "half"
        AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.bfloat16).save_pretrained(half)
        assert ask(str(half), "acme/notes@1") is not None  # the same weights in fewer bits
        tiny_decoder(tmp_path / "acme" / "tiny", seed=1)  # of the right name and shape, and other weights
        assert ask(str(tmp_path / "acme" / "tiny"), "acme/notes@1") is None
        assert ask(str(encoder), "acme/notes@1") is None
        reasons = [record.getMessage() for record in caplog.records]
        assert len(reasons) == 2 and "has other weights than acme/tiny" in reasons[0]
        assert "vocabulary" in reasons[1] or "does not have the layers" in reasons[1]

    def test_a_base_that_is_not_here_is_held_to_its_name(self, ask: Ask, notes: ahf.Version, caplog: Any) -> None:
        assert ask("acme/tiny", "acme/notes@1") is not None
        assert ask("acme/tiny-instruct", "acme/notes@1") is None
        assert "trained on acme/tiny, and acme/tiny-instruct is served" in caplog.text

    def test_quantized_weights_are_told_by_their_name(
        self, ask: Ask, notes: ahf.Version, decoder: Path, tmp_path: Path
    ) -> None:
        from safetensors.torch import save_file

        for folder in ("acme/tiny", "acme/other"):
            shutil.copytree(decoder, tmp_path / folder)
            tensors = load_file(tmp_path / folder / "model.safetensors")
            packed = {name: tensor.to(torch.int8) for name, tensor in tensors.items()}
            save_file(packed, tmp_path / folder / "model.safetensors")
        assert ask(str(tmp_path / "acme" / "tiny"), "acme/notes@1") is not None
        assert ask(str(tmp_path / "acme" / "other"), "acme/notes@1") is None

    def test_a_declared_base_is_its_name_until_a_load_has_pinned_it(
        self, ask: Ask, imported: Callable[..., ahf.Version], decoder: Path, tmp_path: Path
    ) -> None:
        imported()
        cached = tmp_path / "models--acme--tiny" / "snapshots" / ("0" * 40)
        shutil.copytree(decoder, cached)
        assert ask("acme/tiny", "acme/brought") and ask(str(cached), "acme/brought")
        assert ask(str(decoder), "acme/brought") is None
        ahf.load("acme/brought", base=decoder)
        assert ask(str(decoder), "acme/brought") and ask(str(cached), "acme/brought")


class TestFolders:
    def test_what_vllm_would_not_load_is_none_until_leaving_it_out_is_allowed(
        self, ask: Ask, imported: Callable[..., ahf.Version], tmp_path: Path, caplog: Any
    ) -> None:
        version = imported(modules_to_save=["lm_head"])
        assert ask("acme/tiny", "acme/brought") is None
        assert "vLLM takes no modules_to_save (lm_head)" in caplog.text
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AHF_VLLM_WITHOUT_HEAD", "1")
            folders = {ask("acme/tiny", name).lora_path for name in ("acme/brought", "acme/brought@1")}
        (folder,) = map(Path, folders)
        assert folder.is_relative_to(tmp_path / "cache") and folder.name == version.digest.removeprefix("sha256:")
        assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
        stored = load_file(version.files / "adapter_model.safetensors")
        written = load_file(folder / "adapter_model.safetensors")
        assert written.keys() == {name for name in stored if ".lora_" in name} < stored.keys()
        assert json.loads((folder / "adapter_config.json").read_text())["modules_to_save"] is None

    def test_two_processes_that_leave_it_out_at_once_get_one_folder(self, imported: Callable[..., ahf.Version]) -> None:
        from adapterhub_fin.exporting.vllm_resolver import headless

        version, both = imported(modules_to_save=["lm_head"]), Barrier(2, timeout=60)

        class Meeting(ahf.Registry):
            def path(self, *arguments: Any, **options: Any) -> Path:
                both.wait()  # each has found no folder, and begins to write one
                return super().path(*arguments, **options)

        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(lambda registry: headless(registry, version), (Meeting(), Meeting()))
        assert one == other and [path.name for path in one.parent.iterdir()] == [one.name]

    def test_what_no_export_mends_is_none_either_way(
        self, ask: Ask, imported: Callable[..., ahf.Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        imported(use_dora=True)
        monkeypatch.setenv("AHF_VLLM_WITHOUT_HEAD", "1")
        assert ask("acme/tiny", "acme/brought") is None
        assert not list((tmp_path / "cache").rglob("vllm/*"))

    def test_how_high_a_rank_is_served_is_left_to_the_server(
        self, ask: Ask, imported: Callable[..., ahf.Version]
    ) -> None:
        version = imported(rank_pattern={}, alpha_pattern={}, use_rslora=True)
        assert ask("acme/tiny", "acme/brought").lora_path == str(version.files)
