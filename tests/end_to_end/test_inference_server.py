"""`ahf serve inference` as a process, spoken to by the real client of OpenAI and over plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.testing.forked import ForkedProcess, start_forked
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

TEXTS = [f"Company {number}: profit {('rose', 'fell', 'held')[number % 3]} by {number} %." for number in range(8)]
VERSIONS = [f"acme/tone@{number}" for number in (1, 2, 3)]
TALK: Any = [{"role": "user", "content": "Once upon a time"}]
TOKEN, OTHER = "a-secret-of-32-characters-or-more", "another-secret-of-32-characters"


@dataclass(frozen=True)
class Server:
    """A server that runs as a process of its own; its registry is in `home`, and its log in `log`."""

    url: str
    process: ForkedProcess
    home: Path
    log: Path

    def client(self, token: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0, timeout=60)

    def classify(self, **fields: Any) -> httpx2.Response:
        return httpx2.post(f"{self.url}/v1/classify", json=fields, timeout=60)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


Start = Callable[..., Server]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    started: list[ForkedProcess] = []

    def run(home: Path, base: Path, *arguments: str, port: int = 0) -> Server:
        log = tmp_path_factory.mktemp("server") / "log"
        command = ["-m", "adapterhub_fin.cli", "serve", "inference", "--base", str(base), "--port", str(port)]
        environment = {"AHF_HOME": str(home), "AHF_CACHE": str(home) + "-cache"}
        process = start_forked(*command, *arguments, environment=environment, stderr=str(log))
        started.append(process)
        while "serving at" not in (said := log.read_text()):
            assert process.poll() is None, said
            time.sleep(0.05)
        return Server(said.split()[2].rstrip(":"), process, home, log)

    yield run
    for process in started:
        process.kill()
        process.wait()


def three_tones(trained: Any, home: Path, scratch: Path) -> ahf.Registry:
    """A registry with acme/tone 1 to 3, known until the ends of 2015, 2017 and 2019; `champion` is 1."""
    registry = ahf.Registry(home)
    for number, year in enumerate((2015, 2017, 2019), 1):
        folder = scratch / f"weights-{number}"
        shutil.copytree(trained.version.files, folder)
        torch.manual_seed(number)
        tensors = load_file(folder / "adapter_model.safetensors")
        noisy = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in tensors.items()}
        save_file(noisy, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        ends = (("base", 2014), ("corpus:invented", year))
        inputs = [
            KnowledgeInput(input=name, at=f"{end}-12-31T00:00:00Z", kind="asserted", evidence="invented")
            for name, end in ends
        ]
        changed = {"knowledge": Knowledge.of(inputs), "files": (), "tensors": ()}
        registry.add(folder, trained.version.manifest.model_copy(update=changed), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    return registry


@pytest.fixture(scope="module")
def registry(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> ahf.Registry:
    scratch = tmp_path_factory.mktemp("tones")
    return three_tones(trained, scratch / "home", scratch)


@pytest.fixture(scope="module")
def tones(start: Start, registry: ahf.Registry, encoder: Path) -> Server:
    return start(registry.root, encoder)


@pytest.fixture(scope="module")
def alone(registry: ahf.Registry, encoder: Path) -> dict[tuple[str, str], tuple[Any, np.ndarray]]:
    """What each version answers to each text by itself, without a server."""
    pool = ahf.pool(encoder, registry=registry)
    answers = {}
    for version in VERSIONS:
        for text in TEXTS:
            [answer] = pool.predict([text], version)
            answers[text, version] = (answer, pool.embed([text], version).vectors[0])
    return answers


@pytest.fixture(scope="module")
def writers(start: Start, decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of acme/w1 and acme/w2, which write."""
    scratch = tmp_path_factory.mktemp("writers")
    registry = ahf.Registry(scratch / "home")
    for seed in (1, 2):
        torch.manual_seed(seed)
        plan = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(decoder), plan)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        model.peft_config["default"].base_model_name_or_path = "acme/tiny"
        model.save_pretrained(scratch / f"w{seed}", save_embedding_layers=False)
        ahf.import_folder(scratch / f"w{seed}", f"acme/w{seed}", registry=registry)
    return start(registry.root, decoder)


def test_embeddings_equal_those_without_a_server(tones: Server, alone: Any) -> None:
    client = tones.client()
    for version in VERSIONS:
        packed = client.embeddings.create(model=version, input=TEXTS)
        plain = client.embeddings.create(model=version, input=TEXTS[0], encoding_format="float")
        assert packed.model == plain.model == version and packed.usage.prompt_tokens > len(TEXTS)
        for text, row in zip(TEXTS, packed.data, strict=True):
            np.testing.assert_allclose(row.embedding, alone[text, version][1], atol=1e-5)
            assert row.digest == alone[text, version][0].digest  # type: ignore[attr-defined]
        np.testing.assert_allclose(plain.data[0].embedding, alone[TEXTS[0], version][1], atol=1e-5)
    raw = httpx2.post(
        f"{tones.url}/v1/embeddings",
        json={"model": "acme/tone@1", "input": TEXTS[0], "encoding_format": "base64", "normalize": True},
    ).json()["data"][0]
    vector = np.frombuffer(base64.b64decode(raw["embedding"]), "<f4")
    expected = alone[TEXTS[0], "acme/tone@1"][1]
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_classify_names_the_version_of_each_row(tones: Server, alone: Any) -> None:
    body = tones.classify(model="acme/tone", input=TEXTS[:3], as_of=["2016-06-30", "2018-06-30", "2021-01-01"]).json()
    assert body["model"] == "acme/tone", "several versions answered"
    for row, text, version in zip(body["data"], TEXTS, VERSIONS, strict=False):
        answer = alone[text, version][0]
        assert (row["reference"], row["version"], row["digest"]) == (version, int(version[-1]), answer.digest)
        assert row["label"] == answer.value.label and row["score"] == pytest.approx(answer.value.score, abs=1e-5)
        assert row["scores"] == pytest.approx(answer.value.scores, abs=1e-5)
    early = tones.classify(model="acme/tone", input=TEXTS[0], as_of="2013-01-01")
    assert early.status_code == 422 and early.json()["error"]["code"] == "look_ahead"
    skipped = tones.classify(model="acme/tone", input=TEXTS[:2], as_of=["2013-01-01", "2016-01-01"], skip_refused=True)
    assert [row["reference"] for row in skipped.json()["data"]] == [None, "acme/tone@1"]


def test_the_models_are_the_versions_and_aliases_of_the_base(tones: Server) -> None:
    client = tones.client()
    models = {model.id: model for model in client.models.list()}
    assert {"acme/tone", "acme/tone@champion", *VERSIONS} <= set(models)
    assert client.models.retrieve("acme/tone@champion").reference == "acme/tone@1"  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("acme/missing")


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"model": "acme/missing"}, openai.NotFoundError, "no adapter named"),
        ({"model": "acme/tone@9"}, openai.NotFoundError, "acme/tone"),
        ({"model": "no reference"}, openai.BadRequestError, "isn't a reference"),
        ({"input": ["good", " "]}, openai.BadRequestError, "text 1 is blank"),
        ({"input": []}, openai.BadRequestError, "input must be"),
        ({"input": [1, 2]}, openai.BadRequestError, "token ids"),
        ({"input": ["x"] * 2049}, openai.BadRequestError, "2048"),
        ({"dimensions": 8}, openai.BadRequestError, "dimensions isn't supported"),
        ({"extra_body": {"layer": 99}}, openai.BadRequestError, "no layer 99"),
        ({"extra_body": {"as_of": "soon"}}, openai.BadRequestError, "soon"),
        ({"extra_body": {"timeout": -1}}, openai.BadRequestError, "timeout must be"),
    ],
)
def test_what_is_wrong_is_one_sentence_in_openais_shape(tones: Server, fields: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says) as raised:
        tones.client().embeddings.create(**{"model": "acme/tone@1", "input": "Profit rose.", **fields})
    body = raised.value.body
    assert set(body) == {"message", "type", "param", "code"} and "\n" not in body["message"]


def test_a_mixed_load_answers_each_as_alone(tones: Server, alone: Any) -> None:
    asked = [(text, version) for text in TEXTS for version in VERSIONS] * 4

    def ask(each: tuple[str, str]) -> Any:
        return tones.classify(model=each[1], input=each[0]).json()["data"][0]

    with ThreadPoolExecutor(16) as threads:
        bad = [threads.submit(tones.classify, model="acme/tone@9", input="x") for _ in range(10)]
        rows = list(threads.map(ask, asked))
        assert {each.result().status_code for each in bad} == {404}
    for each, row in zip(asked, rows, strict=True):
        assert row["reference"] == each[1]
        assert row["scores"] == pytest.approx(alone[each][0].value.scores, abs=1e-5)


def test_a_slow_client_stalls_nobody(tones: Server) -> None:
    port = int(tones.url.rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for connection in slow:  # a body that never comes
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    for _ in range(20):
        assert tones.classify(model="acme/tone@1", input=TEXTS[0]).status_code == 200
    for connection in slow:
        connection.close()
    large = httpx2.post(f"{tones.url}/v1/classify", content=b"x" * (5 * 2**20))
    assert large.status_code == 413 and "less" in large.json()["error"]["message"]


def test_a_request_has_its_deadline_and_its_id(tones: Server) -> None:
    late = tones.classify(model="acme/tone@1", input=TEXTS[0], timeout=1e-6)
    assert late.status_code == 504 and late.json()["error"]["code"] == "deadline_exceeded"
    request_id = late.headers["X-Request-Id"]
    until = time.monotonic() + 20  # the line is written once the answer is sent
    while not (statuses := [line["status"] for line in tones.lines() if line.get("id") == request_id]):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert statuses == [504]
    metrics = httpx2.get(f"{tones.url}/metrics").text
    assert 'ahf_rows_total{outcome="expired"}' in metrics and "ahf_queue_seconds_bucket" in metrics
    assert httpx2.get(f"{tones.url}/health").text == "ok\n"


def test_a_moved_alias_a_yanked_and_a_deleted_version_take_effect(
    start: Start, trained: Any, encoder: Path, tmp_path: Path
) -> None:
    registry = three_tones(trained, tmp_path / "registry", tmp_path)
    server = start(registry.root, encoder)

    def answering(model: str) -> Any:
        answer = server.classify(model=model, input=TEXTS[0])
        return answer.json()["data"][0]["reference"] if answer.status_code == 200 else answer.status_code

    def becomes(model: str, expected: Any) -> None:
        until = time.monotonic() + 20
        while (found := answering(model)) != expected:
            assert time.monotonic() < until, found
            time.sleep(0.1)

    assert answering("acme/tone@champion") == "acme/tone@1" and answering("acme/tone") == "acme/tone@3"
    registry.set_alias("acme/tone", "champion", 2)
    becomes("acme/tone@champion", "acme/tone@2")
    registry.add_event("acme/tone@3", "yank", {"reason": "wrong labels"})
    becomes("acme/tone", "acme/tone@2")
    assert "acme/tone@3" not in {model.id for model in server.client().models.list()}
    registry.delete("acme/tone@1")
    becomes("acme/tone@1", 404)
    assert answering("acme/tone@2") == "acme/tone@2"


def test_only_holders_of_a_token_are_answered(
    start: Start, registry: ahf.Registry, encoder: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# who may ask\ndesk {TOKEN}\n")
    server = start(registry.root, encoder, "--token-file", str(tokens))
    assert server.client(TOKEN).embeddings.create(model="acme/tone", input="x").data
    for wrong in (OTHER, "x"):
        with pytest.raises(openai.AuthenticationError, match="isn't one of"):
            server.client(wrong).models.list()
    for path in ("/metrics", "/v1/models", "/v1/models/acme/tone"):
        refused = httpx2.get(server.url + path)
        assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == "Bearer", path
    assert server.classify(model="acme/tone", input="x").status_code == 401
    assert httpx2.get(f"{server.url}/health").status_code == 200
    tokens.write_text(f"other {OTHER}\n")
    assert server.client(OTHER).models.list().data
    with pytest.raises(openai.AuthenticationError):
        server.client(TOKEN).models.list()
    assert TOKEN not in server.log.read_text() and "desk" in {line.get("token") for line in server.lines()}


def test_beyond_the_queue_clients_are_told_when_to_retry(start: Start, registry: ahf.Registry, encoder: Path) -> None:
    server = start(registry.root, encoder, "--max-queue", "4", "--max-wait", "500ms")
    server.classify(model="acme/tone", input="x")  # loads the base
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda text: server.classify(model="acme/tone", input=text), TEXTS + TEXTS[:4]))
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) >= 1 and answer.json()["error"]["code"] == "overloaded"
    many = server.classify(model="acme/tone", input=TEXTS[:5])
    assert many.status_code == 400 and "fewer" in many.json()["error"]["message"], "no retry would help"
    patient = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=20)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda text: patient.embeddings.create(model="acme/tone", input=text), TEXTS))
    assert all(each.model == "acme/tone@3" for each in made), "the client retries as it is told"


def test_sigterm_answers_what_was_accepted_and_ends_with_0(
    start: Start, registry: ahf.Registry, encoder: Path, alone: Any
) -> None:
    server = start(registry.root, encoder, "--max-wait", "1500ms", "--pin", "acme/tone@1")
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(server.classify, model="acme/tone@1", input=text) for text in TEXTS]
        until = time.monotonic() + 10
        while "ahf_rows_waiting 8.0" not in httpx2.get(f"{server.url}/metrics").text and time.monotonic() < until:
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
    assert [answer.status_code for answer in answers] == [200] * len(TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        expected = alone[text, "acme/tone@1"][0].value.scores
        assert answer.json()["data"][0]["scores"] == pytest.approx(expected, abs=1e-5)
    assert server.process.wait(30) == 0


def test_a_killed_server_starts_again_at_its_port(start: Start, registry: ahf.Registry, encoder: Path) -> None:
    server = start(registry.root, encoder)
    first = server.classify(model="acme/tone", input=TEXTS[0]).json()
    server.process.kill()
    server.process.wait()
    again = start(registry.root, encoder, port=int(server.url.rpartition(":")[2]))
    assert again.url == server.url and again.classify(model="acme/tone", input=TEXTS[0]).json() == first


def test_chat_is_written_whole_and_streamed(writers: Server, decoder: Path) -> None:
    client = writers.client()
    pool = ahf.pool(decoder, registry=ahf.Registry(writers.home))
    for name in ("acme/w1", "acme/w2"):
        [expected] = pool.generate([TALK], name, max_new_tokens=12)
        assert expected is not None
        whole = client.chat.completions.create(model=name, messages=TALK, max_tokens=12)
        assert whole.choices[0].message.content == expected.value and whole.model == f"{name}@1"
        assert whole.usage and whole.usage.completion_tokens == expected.new_tokens
        assert whole.choices[0].finish_reason == ("stop" if expected.ended else "length")
        streamed = client.chat.completions.create(
            model=name, messages=TALK, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(streamed)
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == expected.value and chunks[-1].usage == whole.usage
        assert {chunk.model for chunk in chunks} == {f"{name}@1"}


def test_sampling_follows_its_seed_beside_others(writers: Server) -> None:
    client = writers.client()

    def drawn(seed: int) -> str | None:
        made = client.chat.completions.create(model="acme/w1", messages=TALK, max_tokens=12, temperature=1.0, seed=seed)
        return made.choices[0].message.content

    alone = {seed: drawn(seed) for seed in range(4)}
    assert len(set(alone.values())) > 1
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(drawn, [0, 1, 2, 3] * 2))
    assert together == [alone[seed] for seed in (0, 1, 2, 3)] * 2


def test_a_stop_ends_a_text(writers: Server) -> None:
    client = writers.client()
    whole = client.chat.completions.create(model="acme/w1", messages=TALK, max_tokens=12).choices[0].message.content
    assert whole
    stop = whole[3:5]
    cut = client.chat.completions.create(model="acme/w1", messages=TALK, max_tokens=12, stop=stop).choices[0]
    assert cut.message.content == whole[: whole.find(stop)] and cut.finish_reason == "stop"
    chunks = list(
        client.chat.completions.create(model="acme/w1", messages=TALK, max_tokens=12, stop=[stop], stream=True)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == cut.message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n": 2}, "n isn't supported"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools isn't supported"),
        ({"max_tokens": 0}, "max_new_tokens"),
        ({"max_tokens": 5000}, "positions"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "no text"),
        ({"messages": [{"role": "user", "content": " "}]}, "blank"),
        ({"stop": ["a"] * 5}, "at most 4"),
        ({"max_tokens": 5000, "stream": True}, "positions"),
    ],
)
def test_what_chat_does_not_do_is_refused(writers: Server, fields: Any, says: str) -> None:
    with pytest.raises(openai.APIError, match=says):
        made: Any = writers.client().chat.completions.create(**{"model": "acme/w1", "messages": TALK, **fields})
        list(made)


def test_a_reader_that_leaves_frees_its_stream(writers: Server) -> None:
    """More streams than may run at once, each left at its first piece."""
    for _ in range(12):
        with writers.client().chat.completions.create(
            model="acme/w1", messages=TALK, max_tokens=60, stream=True
        ) as stream:
            next(iter(stream))
    until = time.monotonic() + 30
    while "ahf_rows_waiting 0.0" not in httpx2.get(f"{writers.url}/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_the_clients_of_the_guide_run(
    tones: Server,
    registry: ahf.Registry,
    encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "serve_inference.md").read_text(encoding="utf-8")
    client, program = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{tones.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    exec(compile(client, "client.py", "exec"), {})
    assert capsys.readouterr().out.startswith("acme/tone@1 ")
    [body] = re.findall(r"-d '(.*?)'", guide)
    rows = tones.classify(**json.loads(body)).json()["data"]
    assert [row["reference"] for row in rows] == ["acme/tone@2", "acme/tone@3"]
    monkeypatch.setenv("AHF_HOME", str(registry.root))
    names: dict[str, Any] = {}
    exec(compile(program.replace('"minilm"', repr(str(encoder))), "program.py", "exec"), names)
    assert asyncio.run(names["label"]("Margins widened.")).endswith(" by acme/tone@1")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--base", "missing-folder/x"], "missing-folder"),
        (["--base", "minilm", "--host", "0.0.0.0"], "--public"),
        (["--base", "minilm", "--host", "0.0.0.0", "--public"], "--token-file"),
        (["--base", "minilm", "--max-wait", "soon"], "length of time"),
        (["--base", "minilm", "--token-file", "empty"], "no token"),
        (["--base", "minilm", "--token-file", "short"], "line 1"),
        (["--base", "minilm", "--token-file", "absent"], "can't be read"),
    ],
)
def test_what_can_not_be_served_is_refused_at_the_start(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from adapterhub_fin import cli

    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("# nobody\n")
    Path("short").write_text("desk secret\n")
    before = threading.active_count()
    with pytest.raises(SystemExit) as leave:
        cli.main(["serve", "inference", "--port", "0", *arguments])
    error = capsys.readouterr().err
    assert leave.value.code == 1 and says in error and error.count("\n") == 1, error
    assert threading.active_count() == before
