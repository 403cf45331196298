"""Folders, manifests and registries to test with, none of which needs torch or numpy."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput
from adapterhub_fin_registry.trust.keys import Kind

Weights = Callable[..., bytes]
MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]


def _weights(tensors: Mapping[str, Sequence[int]], seed: int = 0) -> bytes:
    header, data = {}, b""
    for name, shape in tensors.items():
        size = 4
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + size]}
        data += bytes([seed % 256]) * size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture(scope="session")
def weights() -> Weights:
    """A safetensors file's bytes from the shapes of its F32 tensors, each byte of which is the seed."""
    return _weights


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """A folder with an adapter that differs by its seed, and with further files by path."""

    def make(seed: int = 0, files: Mapping[str, bytes] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("folder")
        everything = {
            "adapter_config.json": b'{"peft_type":"LORA"}',
            "adapter_model.safetensors": _weights({"b.lora_A": (2, 3), "a.lora_B": (3, 2)}, seed),
            **(files or {}),
        }
        for path, data in everything.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    return make


@pytest.fixture(scope="session")
def make_manifest() -> MakeManifest:
    """A manifest of an adapter whose base and corpus end at the given instants."""

    def make(base: str = "2020-01-01T00:00:00Z", corpus: str = "2021-01-01T00:00:00Z", /, **fields: Any) -> Manifest:
        inputs = (
            KnowledgeInput(input="base", at=base, kind="asserted", evidence="the model's card"),
            KnowledgeInput(input="corpus:headlines", at=corpus, kind="observed", evidence="available_at"),
        )
        given = {
            "method": {"name": "lora", "options": {"rank": 8}},
            "base": {"repository": "acme/base", "fingerprint": "declared"},
            "knowledge": Knowledge.of(inputs),
            **fields,
        }
        return Manifest.model_validate(given)

    return make


class WriteCalls:
    """Tells of each call that writes to a file system, just before it is made; what it raises, the call raises."""

    happens: Callable[[str, tuple[Any, ...]], None] | None = None
    _kinds = frozenset({"mkdir", "rename", "link", "symlink", "remove", "rmdir", "chmod", "truncate", "utime"})
    _writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    @contextmanager
    def told(self, happens: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
        """Call a function with the name and the arguments of each; an fsync is told, and not made."""
        fsync = os.fsync
        self.happens = happens
        os.fsync = lambda descriptor: happens("fsync", (descriptor,))  # type: ignore[assignment]
        try:
            yield
        finally:
            os.fsync = fsync
            self.happens = None

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What the interpreter calls, also for what libraries do."""
        if self.happens is not None:
            name = event.removeprefix("os.")
            if name == "mkdir" and Path(arguments[0]).is_dir():
                return  # asked for in case it isn't there
            if name in self._kinds or (event == "open" and arguments[2] & self._writing):
                self.happens(name, arguments)


@pytest.fixture(scope="session")
def write_calls() -> WriteCalls:
    """The calls of this process that write to a file system."""
    calls = WriteCalls()
    sys.addaudithook(calls.audit)  # which can't be removed: it costs a comparison from then on
    return calls


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fsync: it matters where the power fails, and `test_power_cut` is about that."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def work_folder_name() -> Callable[[str], str]:
    """The name of a work folder, by a word for it."""
    return lambda word: str(uuid.uuid5(uuid.NAMESPACE_OID, word))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "root")


@pytest.fixture(scope="session")
def make_key(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The file of a new private key, its public half beside it as .pub."""
    from adapterhub_fin_registry.trust.keys import new_key

    def make(name: str = "desk", kind: Kind = "p256", passphrase: str | None = None) -> Path:
        path = tmp_path_factory.mktemp("keys") / f"{name}.pem"
        private, public = new_key(kind, passphrase)
        path.touch(mode=0o600)
        path.write_bytes(private)
        path.with_suffix(".pub").write_bytes(public)
        return path

    return make


@pytest.fixture
def configure(tmp_path: Path) -> Callable[[str], Path]:
    """Write the client's configuration."""

    def write(text: str) -> Path:
        path = tmp_path / "config" / "adapterhub_fin" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def full_manifest() -> dict[str, Any]:
    """A manifest as plain JSON in which no field is empty."""
    digest = "sha256:" + "ab" * 32
    return {
        "format": 2,
        "files": [["adapter_config.json", 20, "0" * 64], ["adapter_model.safetensors", 160, "1" * 64]],
        "tensors": [["a.lora_B", "F32", [3, 2]], ["b.lora_A", "BF16", []]],
        "method": {
            "name": "lora",
            "options": {"rank": 8, "dropout": 0.05, "targets": ["query", "value"], "bias": None, "rslora": True},
            "provider": {"distribution": "adapterhub-fin", "version": "0.1.0"},
            "traits": ["has_head", "prompt_kv"],
        },
        "head": {
            "name": "classify",
            "options": {"dropout": 0.1},
            "labels": ["negative", "neutral", "positive"],
            "modules_to_save": ["classifier", "pooler.dense"],
        },
        "base": {
            "repository": "acme/base-model",
            "revision": "0123abc",
            "architecture": "BertModel",
            "config_digest": digest,
            "vocabulary_size": 30522,
            "tokenizer_digest": digest,
            "tokenizer_probe": {"texts": {"a": [101, 1037, 102]}, "words": digest},
            "chat_template_digest": digest,
            "structure_digest": digest,
            "weight_probe": {
                "dtype": "float32",
                "values": {"encoder.weight": [0.5, -1.25e-05]},
                "rows": {
                    "words.weight": {"dtype": "float32", "grid": "float32", "rows": 9, "size": 0.5, "sums": [0.25]}
                },
            },
            "quantization": {"bits": 4, "type": "nf4"},
            "transformers": "5.23.0",
            "fingerprint": "verified",
        },
        "corpus": {
            "name": "headlines",
            "options": {"source": "synthetic"},
            "digest": digest,
            "rows": {"test": 20, "train": 100, "validation": 10},
            "available": ["2019-01-01T00:00:00Z", "2020-12-31T23:59:59.5Z"],
            "license": "CC-BY-4.0",
            "notes": {"copies, train": 2},
        },
        "knowledge": {
            "inputs": [
                {"input": "base", "at": "2020-06-30T00:00:00Z", "kind": "asserted", "evidence": "the model's card"},
                {"input": "corpus:headlines", "at": "2020-12-31T23:59:59.5Z", "kind": "observed", "evidence": "rows"},
                {"input": "labels:headlines", "at": "2021-01-05T00:00:00Z", "kind": "bounded", "evidence": "+5 days"},
            ],
            "end": "2021-01-05T00:00:00Z",
        },
        "metrics": {"accuracy": 0.85, "f1": 1.0},
        "measured_on": {"split": "test", "rows": 20, "corpus_digest": digest},
        "recipe": {"name": "acme/tone", "training": {"epochs": 5, "learning_rate": 0.001}},
        "seed": 7,
        "environment": {"device": "cpu", "torch": "2.13.0"},
        "parents": [{"digest": digest, "name": "acme/tone", "role": "continued", "weight": 0.5}],
        "description": "The tone of headlines, für Börsen",
        "license": "Apache-2.0",
        "tags": ["finance", "tone"],
    }
