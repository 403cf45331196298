"""The web service in examples/, as uvicorn runs it: every one of many requests at once is answered as when alone."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf

APP = Path(__file__).parents[2] / "examples" / "fastapi_app.py"
NAMES = ("t/tone@1", "t/risk@1")
TEXTS = [f"{firm}: {what}." for firm in ("Arlo", "Brent", "Gant") for what in ("profit rose", "profit fell")]
REQUESTS = 200


@pytest.fixture(scope="module")
def service(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_HOME", str(root / "home"))
        patch.setenv("AHF_CACHE", str(root / "cache"))
        patch.setenv("AHF_BASE", str(encoder))
        patch.setenv("AHF_ADAPTERS", ",".join(NAMES))
        for seed, name in enumerate(NAMES):
            _store(name.removesuffix("@1"), encoder, seed)
        specification = importlib.util.spec_from_file_location("fastapi_app", APP)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(module.app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def _store(name: str, base: Path, seed: int) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    adapted: Any = get_peft_model(plain, LoraConfig(r=4, task_type="SEQ_CLS", target_modules="all-linear"))
    torch.manual_seed(seed)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    ahf.save(adapted, name, base=base, labels=["down", "up"], tokenizer=AutoTokenizer.from_pretrained(base))


def _ask(url: str, path: str, name: str, texts: Any) -> Any:
    query = urllib.parse.urlencode({"name": name})
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/{path}?{query}", json.dumps(texts).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def _figures(answer: Any) -> list[float]:
    return [score for row in answer for score in (row["scores"].values() if isinstance(row, dict) else row)]


def test_two_hundred_requests_at_once_are_answered_as_each_alone(service: str) -> None:
    asks = [(path, name, TEXTS[start:]) for path in ("predict", "embed") for name in NAMES for start in (0, 2)]
    alone = [_figures(_ask(service, *ask)) for ask in asks]
    assert max(abs(a - b) for a, b in zip(alone[0], alone[2], strict=True)) > 0.01
    with ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda place: _figures(_ask(service, *asks[place % 8])), range(REQUESTS)))
    for place, found in enumerate(replies):
        assert found == pytest.approx(alone[place % 8], abs=1e-5, rel=0)


def test_its_health_names_what_is_served(service: str) -> None:
    with urllib.request.urlopen(f"{service}/health", timeout=60) as reply:
        assert json.load(reply) == list(NAMES)


def test_what_can_t_be_answered_is_a_sentence(service: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as missing:
        _ask(service, "predict", "t/nobody", TEXTS)
    assert "t/nobody is not served" in json.load(missing.value)["detail"]
    with pytest.raises(urllib.error.HTTPError, match="422"):
        _ask(service, "predict", NAMES[0], "a text alone")
