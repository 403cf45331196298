"""Fixtures that more than one folder needs: a home of its own for each test, tiny bases, one trained version."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapterhub_fin.plugin import manager as extensions

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.run import Run

# A shell's background job ignores Ctrl-C, and so would the processes that tests start and then interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# bitsandbytes calls torch.compile as it is imported, which imports a compiler into every process of the tests.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

MOST_WARNINGS = 300  # of a whole run, beside those that pyproject.toml names


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that ends in hundreds of warnings, among which nobody would see a new one."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")  # None in a worker
    found = len(reporter.stats.get("warnings", ())) if reporter is not None else 0
    if found > MOST_WARNINGS and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{found:,} warnings, and {MOST_WARNINGS} are allowed: mend their causes", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_finish() -> None:
    """Keep what collecting made out of every later collection of garbage: Transformers' Trainer asks for one a run.

    Thousands of tests and all their modules are near a million objects, and to look through them takes half a second.
    """
    gc.collect()
    gc.freeze()


SHARED = Path(os.environ.get("AHF_SHARED") or Path(__file__).parents[2] / "shared")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry, a cache and a configuration of this test's own."""
    monkeypatch.setenv("AHF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for setting in ("AHF_CONFIG", "AHF_REGISTRY", "AHF_KEY_PASSPHRASE"):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("AHF_DISABLE_PLUGINS", raising=False)
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """What a test registers in its process is no other test's."""
    before = list(extensions._registered)
    yield
    if extensions._registered != before:
        extensions._registered[:], extensions._current = before, None


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run side by side: two that each spread over all cores take twenty times as long on tiny models."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def without_evidence() -> Iterator[None]:
    """Runs measure no baseline, as where the extra `evidence` isn't installed: hundreds of runs would wait for one."""
    from adapterhub_fin.engine.evaluation import linear

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "PACKAGE", "a_package_that_is_not_installed")
        yield


@pytest.fixture(autouse=True, scope="session")
def tiny() -> None:
    """The tiny corpus is registered once a process, and so before any test: what a test registers goes with it."""
    from adapterhub_fin.testing import tiny_corpus

    tiny_corpus()


@pytest.fixture
def forked_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of a sweep are forks of a process that has imported torch; sweeps of test_sweep.py start their own."""
    from adapterhub_fin.engine.sweeping import workers
    from adapterhub_fin.testing.forked import start_forked

    def start(self: workers.Workers, folder: Path) -> Any:
        return start_forked("-m", workers.MODULE, str(folder), text=None)

    monkeypatch.setattr(workers.Workers, "_process", start)


@pytest.fixture(scope="session")
def traces() -> dict[str, dict[str, bytes]]:
    """The files of the graphs that were traced for `traced_once`, by what was traced."""
    return {}


@pytest.fixture
def traced_once(traces: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is traced once a process into a graph, which takes four seconds; test_onnx.py also traces it anew."""
    from adapterhub_fin.exporting.onnx_graph import graph

    trace = graph.write_graph

    def write(model: Any, example: Any, path: Path, whose: str) -> None:
        key = hashlib.sha256(repr((model, graph.ONE_FILE, sorted(example), whose)).encode())
        for tensor in (*example.values(), *model.state_dict().values()):
            key.update(repr((tensor.dtype, tensor.shape)).encode() + tensor.numpy().tobytes())
        if (files := traces.get(key.hexdigest())) is None:
            trace(model, example, path, whose)
            files = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
            traces[key.hexdigest()] = files
        for name, content in files.items():
            (path.parent / name).write_bytes(content)

    monkeypatch.setattr(graph, "write_graph", write)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real material, where it is at hand."""
    if not (SHARED / "data" / "INDEX.md").is_file():
        pytest.skip("the real material is not at hand: it is looked for beside the checkout, or in AHF_SHARED")
    return SHARED


@pytest.fixture
def run_ahf(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit status, standard output, standard error."""

    from adapterhub_fin import cli

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()  # what a fixture's training printed is not the command's
        with pytest.raises(SystemExit) as leave:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return int(leave.value.code or 0), out, err

    return run


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT."""
    from adapterhub_fin.testing import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama."""
    from adapterhub_fin.testing import tiny_decoder

    return tiny_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, encoder: Path, without_evidence: None) -> Iterator[Run]:
    """One version, acme/tone@1, trained on the tiny encoder; its registry must not be changed."""
    import adapterhub_fin as ahf
    from adapterhub_fin.testing import tiny_corpus

    root = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        yield ahf.train(
            name="acme/tone",
            base={"id": "acme/tiny", "path": str(encoder)},
            method={"name": "lora", "rank": 4},
            corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
            training={"epochs": 2, "batch_size": 8, "max_length": 32},
            registry=ahf.Registry(root / "home"),
        )


@pytest.fixture
def dated_tone(trained: Run, home: Path, encoder: Path, tmp_path: Path) -> Any:
    """Return the registry with acme/tone 1 to 3, known until the ends of 2015, 2017 and 2019; the base until 2014.

    Each answers otherwise than the others. `set_alias(alias, version, at)` sets an alias as if at that instant, as
    `yank(version, at, reason)` yanks and `date_record(version, at)` adds a version.
    """
    import torch
    from safetensors.torch import load_file, save_file

    import adapterhub_fin as ahf
    from adapterhub_fin.engine.base import find as bases
    from adapterhub_fin.engine.base.load_base import fingerprint_key
    from adapterhub_fin_registry import registry as local
    from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

    class DatedTone(ahf.Registry):
        def set_alias(self, alias: str, number: int | None, at: str) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(local, "now", lambda: at)
                super().set_alias("acme/tone", alias, number)

        def yank(self, number: int, at: str, reason: str) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(local, "now", lambda: at)
                super().add_event(f"acme/tone@{number}", "yank", {"reason": reason})

        def date_record(self, number: int, at: str) -> None:
            path = self.resolve(f"acme/tone@{number}").folder / "record.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "added_at": at}))

    registry = DatedTone(home)
    for number, year in enumerate((2015, 2017, 2019), 1):
        folder = tmp_path / f"weights-{number}"
        shutil.copytree(trained.version.files, folder)
        tensors = load_file(folder / "adapter_model.safetensors")
        torch.manual_seed(number)
        noisy = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in tensors.items()}
        save_file(noisy, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        inputs = [
            KnowledgeInput(input="base", at="2014-12-31T00:00:00Z", kind="asserted", evidence="invented"),
            KnowledgeInput(input="corpus:invented", at=f"{year}-12-31T00:00:00Z", kind="observed", evidence="dates"),
        ]
        changed = {"knowledge": Knowledge.of(inputs), "files": (), "tensors": ()}
        registry.add(folder, trained.version.manifest.model_copy(update=changed), name="acme/tone")
    bases.remember(fingerprint_key(trained.version.manifest.base), encoder)
    return registry
