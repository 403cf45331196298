"""A registry served over loopback, and clients of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from huggingface_hub import HfApi

from adapterhub_fin.http_process import server_of
from adapterhub_fin.serve import hub_application
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.hub_server.tokens import Tokens
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput, Manifest


@dataclass(frozen=True)
class Server:
    """A server that runs in a thread of this process; `secrets` are those of its tokens, by their names."""

    url: str
    registry: Registry
    state: Path
    secrets: Mapping[str, str]

    def api(self, token: str | None = "writer") -> HfApi:
        """The Hub's own client, with a token by its name, or with none."""
        return HfApi(endpoint=self.url, token=self.secrets[token] if token else False)

    def environment(self, home: Path, token: str | None = "writer") -> dict[str, str]:
        """The environment of a client in a process of its own: its endpoint, its cache and its token."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE"))}
        secret = {"HF_TOKEN": self.secrets[token]} if token else {}
        return {**kept, "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **secret}


Serve = Callable[..., Server]
AHF = [sys.executable, "-m", "adapterhub_fin.cli"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start a server for a registry, with the tokens `writer`, `reader` and `other`, which writes in `other` alone."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(settings: Settings | None = None, registry: Registry | None = None, state: Path | None = None) -> Server:
        place = tmp_path_factory.mktemp("server")
        registry = registry or Registry(place / "root")
        tokens = Tokens(place / "state")
        secrets = {
            "writer": tokens.add("writer", "write"),
            "reader": tokens.add("reader", "read"),
            "other": tokens.add("other", "write", ["other"]),
        }
        state = state or place / "state"  # one that is given has tokens of its own
        listener = socket.create_server(("127.0.0.1", 0))
        server = server_of(hub_application(registry, state, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return Server(f"http://127.0.0.1:{listener.getsockname()[1]}", registry, state, secrets)

    yield serve
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def hub(serving: Serve) -> Server:
    """One server for many tests, each of which uses names of its own."""
    return serving()


@pytest.fixture(scope="session")
def adapter() -> Callable[..., dict[str, bytes]]:
    """The files of a small LoRA as PEFT saves them, which differ by their seed; `columns` makes the weights large."""

    def make(seed: int = 0, columns: int = 8, base: str = "acme/base") -> dict[str, bytes]:
        module = "base_model.model.model.layers.0.self_attn.q_proj"
        header: dict[str, object] = {}
        data = b""
        for factor, shape in (("A", (2, columns)), ("B", (columns, 2))):
            size = 8 * columns
            offsets = [len(data), len(data) + size]
            header[f"{module}.lora_{factor}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
            data += (bytes([seed % 128]) + b"\0\0\x3f") * (size // 4)
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["q_proj"],
        }
        text = json.dumps(header).encode()
        return {
            "adapter_config.json": json.dumps(config).encode(),
            "adapter_model.safetensors": len(text).to_bytes(8, "little") + text + data,
        }

    return make


@pytest.fixture
def made(tmp_path: Path, adapter: Any) -> Any:
    """A version made elsewhere, as its files and its manifest lie on a Hub."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for path, data in adapter(21).items():
        (folder / path).write_bytes(data)
    inputs = [KnowledgeInput(input="base", at="2020-01-01T00:00:00Z", kind="asserted", evidence="a card")]
    manifest = Manifest(
        method={"name": "lora", "options": {"rank": 2}},  # type: ignore[arg-type]
        base={"repository": "acme/base", "fingerprint": "declared"},  # type: ignore[arg-type]
        knowledge=Knowledge.of(inputs),
        description="made elsewhere",
    )
    return Registry(tmp_path / "laptop").add(folder, manifest, name="acme/made")


@pytest.fixture
def run_ahf(home: Path) -> Run:
    """The command to its end, in a process of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*AHF, *arguments], capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start a server and give its process and its URL; it is gone when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        command = [*AHF, "serve", "--port", "0", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("serving at http://127.0.0.1:"), said
        return process, said.split()[2].rstrip(":")

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def peak() -> Callable[[int], int]:
    """The most bytes of memory that a process has had, by its id."""

    def peak(pid: int) -> int:
        [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    return peak
