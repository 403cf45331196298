"""The registry at size: search, the whole process, the index's rebuild, adding and resolving; MLflow's beside it.

    python benchmarks/registry.py [--versions N] [--root FOLDER] [--only PART ...] [--mlflow PYTHON]

The versions are written in the format directly, each with a manifest as long as training writes it (26 kB: tensors and
the base's probe) and without weights; a root that is there already is used again. Adding is `Registry.add` of a folder
of 5 MB, in turn with a copy, a sha256 and an fsync of the same files. MLflow's registry, in SQLite, and ours do the
same work with 500 versions (`mlflow_registry.py`), where MLflow is installed: by the extra `bench`, or for another
interpreter, `--mlflow PYTHON`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.model.format import FORMAT
from adapterhub_fin_registry.model.knowledge import format_instant
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

NAMESPACES = ("acme", "beta", "credit", "desk", "equities", "fixed", "global", "house", "index", "macro")
SECTORS = ("banks", "energy", "health", "industrials", "media", "metals", "retail", "software", "telecoms", "utilities")
TASKS = ("sentiment", "topic", "surprise", "tone", "guidance")
BASES = ("acme/encoder-small", "acme/encoder-large", "acme/reader-1b", "acme/reader-7b")
CORPORA = ("headlines", "filings", "calls", "notes")
QUERIES = {
    "task and metric, best first": "task = 'sentiment' AND metrics.accuracy > 0.85 ORDER BY metrics.accuracy DESC",
    "alias": "alias = champion",
    "one name": "name = 'acme/banks-sentiment-0' ORDER BY version DESC",
    "option and base": "method.rank >= 16 AND base = 'acme/reader-7b'",
    "tag, negated": "tag = production AND NOT metrics.accuracy < 0.8",
    "words": "banks sentiment",
    "rare words and a metric": '"quarter 37" AND metrics.macro_f1 > 0.7',
    "evaluation": "eval.calls.test.accuracy > 0.9 ORDER BY eval.calls.test.accuracy DESC",
    "newest": "corpus IN (filings, calls) ORDER BY added_at DESC",
    "knowledge": "knowledge_end < 2016-01-01 AND NOT yanked = true",
    "part of a name": "name ~ 'METALS-TONE'",
    "nothing fits": "task = 'tone' AND metrics.accuracy > 0.999999",
}


def manifests(count: int) -> Iterator[bytes]:
    """Manifests with the tensors of an encoder's adapter and a probe of its base, and what varies between versions."""
    draw = random.Random(0)
    layers = [
        f"encoder.layer.{i}.{part}" for i in range(6) for part in ("query", "key", "value", "output", "up", "down")
    ]
    names = sorted(f"base_model.{layer}.lora_{side}.weight" for layer in layers for side in "AB")
    probes = {
        base: canonical(
            {
                "dtype": "float32",
                "values": {f"{layer}.{k}": [draw.random() for _ in range(8)] for layer in layers for k in "abc"},
            }
        )
        for base in BASES
    }
    for i in range(count):
        year, quarter = 2010 + i % 15, i % 60
        base, corpus, task = draw.choice(BASES), draw.choice(CORPORA), TASKS[i // 50 % len(TASKS)]
        inputs = [
            {"input": "base", "at": "2010-06-30T00:00:00Z", "kind": "asserted", "evidence": "card"},
            {
                "input": f"corpus:{corpus}",
                "at": f"{year}-{1 + i % 12:02}-28T00:00:00Z",
                "kind": "observed",
                "evidence": "",
            },
        ]
        document: dict[str, Any] = {
            "format": FORMAT,
            "environment": {"torch": "2.13.0", "device": "cpu"},
            "parents": [],
            "recipe": None,
            "files": [["adapter_config.json", 900, "0" * 64], ["adapter_model.safetensors", 5 * 2**20, "1" * 64]],
            "method": {
                "name": draw.choice(("lora", "lora", "adalora", "qlora")),
                "options": {"alpha": 32, "dropout": 0.05, "rank": draw.choice((4, 8, 16, 32)), "targets": "all-linear"},
                "provider": {"distribution": "adapterhub-fin", "version": "0.1.0"},
                "traits": [],
            },
            "head": {
                "name": "classify",
                "options": {"task": task},
                "labels": ["down", "flat", "up"],
                "modules_to_save": ["head"],
            },
            "base": {
                **dict.fromkeys(("revision", "config_digest", "tokenizer_digest", "structure_digest", "quantization")),
                "repository": base,
                "architecture": "BertModel",
                "vocabulary_size": 30522,
                "transformers": "5.23.0",
                "weight_probe": "@",
                "fingerprint": "verified",
            },
            "corpus": {
                "name": corpus,
                "options": {"rows": 4000},
                "digest": None,
                "rows": {"train": 3000, "test": 1000},
                "available": None,
                "license": "CC-BY-4.0",
            },
            "knowledge": {"inputs": inputs, "end": max(entry["at"] for entry in inputs)},
            "metrics": {"accuracy": draw.random(), "macro_f1": draw.random()},
            "measured_on": {"split": "test", "rows": 1000, "corpus_digest": None},
            "seed": i % 10,
            "license": "Apache-2.0",
            "tags": draw.sample(("production", "research", "old"), 1),
            "description": f"The {task} of {corpus}, quarter {quarter}",
        }
        rank = document["method"]["options"]["rank"]
        document["tensors"] = [[name, "F32", [rank, 384] if "lora_A" in name else [384, rank]] for name in names]
        yield canonical(document).replace(b'"@"', probes[base])


def write_registry(root: Path, count: int) -> None:
    """Fifty versions a name; a tenth evaluated, a fiftieth yanked, a champion each."""
    print(f"writing {count:,} versions", file=sys.stderr)
    for i, data in enumerate(manifests(count)):
        group, number = divmod(i, 50)
        name = f"{SECTORS[group // 5 % 10]}-{TASKS[group % 5]}-{group // 500}"
        folder = root / "adapters" / NAMESPACES[group // 50 % 10] / name
        version = folder / "versions" / str(number + 1)
        (version / "files").mkdir(parents=True)
        (version / "manifest.json").write_bytes(data)
        added = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i * 7919 % (300 * 86_400))
        at = {"at": format_instant(added), "by": "bench@host"}
        record = {"name": f"{folder.parent.name}/{name}", "version": number + 1, "origin": None}
        (version / "record.json").write_bytes(canonical({**record, "added_at": at["at"], "added_by": at["by"]}))
        events: list[dict[str, Any]] = []
        if i % 10 == 0:
            events.append(
                {"kind": "evaluation", "corpus": "calls", "split": "test", "metrics": {"accuracy": i % 997 / 997}}
            )
        if i % 50 == 7:
            events.append({"kind": "yank", "reason": "bench"})
        for place, event in enumerate(events, 1):
            (version / "events" / str(place)).mkdir(parents=True)
            (version / "events" / str(place) / "event.json").write_bytes(canonical({**event, **at}))
        if number == 0:
            (folder / "aliases" / "champion" / "1").mkdir(parents=True)
            (folder / "aliases" / "champion" / "1" / "alias.json").write_bytes(
                canonical({"version": 1, "at": at["at"]})
            )
            (folder / "changed").write_text(uuid.uuid4().hex)
    (root / "changed").write_text(uuid.uuid4().hex)
    (root / "registry.json").write_bytes(canonical({"format": 1, "id": str(uuid.uuid4())}))


OPERATIONS = {
    "create": "register a version with a tag and a metric",
    "alias": "set an alias",
    "by number": "get by number",
    "by alias": "get by alias",
    "search by tag": "search by tag, 50 rows",
    "search by metric": "search by metric, best first, 50 rows",
    "store 5 MB": "store a folder of 5 MB and register it",
}


def milliseconds(work: Callable[[], object], times: int) -> list[float]:
    """How long each of some repetitions took."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def line(name: str, taken: list[float], unit: str = "ms") -> None:
    p95 = sorted(taken)[min(len(taken) - 1, round(0.95 * len(taken)))]
    print(f"| {name} | {statistics.median(taken):.2f} {unit} | {p95:.2f} {unit} |", flush=True)


def rebuild(root: Path) -> None:
    """From no index to an answer, in this process."""
    shutil.rmtree(os.environ["AHF_CACHE"], ignore_errors=True)
    registry = Registry(root)
    wall, cpu = time.perf_counter(), time.process_time()
    registry.search("")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    count = len(registry.search("yanked IN (true, false)", limit=None))
    if not count:
        raise SystemExit(f"the index holds nothing: {next(iter(registry.damaged().values()))}")
    rates = f"{count / wall:,.0f} | {count / cpu:,.0f}"
    print(f"| rebuild of {count:,}: versions a second, by the clock and by CPU time | {rates} |", flush=True)


def search(root: Path) -> None:
    """Each query warm, all of them together, and a search just after a change."""
    registry = Registry(root)
    registry.search("")
    everything: list[float] = []
    for name, query in QUERIES.items():
        taken = milliseconds(lambda query=query: registry.search(query), 30)  # type: ignore[misc]
        line(f"search: {name}, {len(registry.search(query))} rows", taken)
        everything += taken
    line("**search: all of these**", everything)
    best = "ORDER BY metrics.accuracy DESC"
    page = registry.search(best)
    line("search: the second page", milliseconds(lambda: registry.search(best, after=page.next), 30))
    names = [row["name"] for row in registry.search("version = 1", limit=20)]
    changed = []
    for name in names:
        registry.set_alias(name, "bench", 2)
        changed += milliseconds(lambda: registry.search("alias = bench"), 1)
        registry.set_alias(name, "bench", None)
    line("search just after a change", changed)


def process(root: Path) -> None:
    """`ahf search` from its start to its end."""
    installed = Path(sys.executable).with_name("ahf")
    for name in ("task and metric, best first", "words"):
        command = [str(installed), "search", QUERIES[name], "--json"]
        run = lambda command=command: subprocess.run(command, check=True, capture_output=True)  # noqa: E731
        run()
        line(f"`ahf search`, whole process: {name}", milliseconds(run, 20))


def resolve(root: Path) -> None:
    """By number, by alias, and the newest."""
    registry = Registry(root)
    name = registry.search("alias = champion", limit=1).rows[0]["name"]
    for what, reference in (("number", f"{name}@7"), ("alias", f"{name}@champion"), ("bare name", name)):
        line(f"resolve by {what}", milliseconds(lambda reference=reference: registry.resolve(reference), 100))  # type: ignore[misc]


def adapter_folder(folder: Path, seed: int, size: int = 5 * 2**20) -> Path:
    """A folder with an adapter, of 5 MB."""
    folder.mkdir(parents=True)
    header = canonical({"a.lora_A": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    (folder / "adapter_config.json").write_text('{"peft_type":"LORA"}')
    weights = len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(size)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def copied(source: Path, target: Path) -> None:
    """What anyone must do: a copy of each file, its sha256, an fsync."""
    target.mkdir()
    for path in source.iterdir():
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        with (target / path.name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def add(work: Path) -> None:
    """`Registry.add` and a plain copy in turn."""
    inputs = (KnowledgeInput(input="base", at="2020-01-01T00:00:00Z", kind="asserted"),)
    given = {"method": {"name": "lora"}, "base": {"fingerprint": "declared"}, "knowledge": Knowledge.of(inputs)}
    registry = Registry(work / "adding")
    folders = [adapter_folder(work / "sources" / str(seed), seed) for seed in range(21)]
    ours, plain = [], []
    for place, folder in enumerate(folders):
        manifest = Manifest.model_validate({**given, "seed": place})
        ours += milliseconds(lambda: registry.add(folder, manifest, name="bench/add"), 1)  # noqa: B023
        plain += milliseconds(lambda: copied(folder, work / f"copy-{place}"), 1)  # noqa: B023
    line("add of 5 MB", ours[1:])
    line("copy, sha256 and fsync of the same", plain[1:])
    ratio = statistics.median(a / b for a, b in zip(ours[1:], plain[1:], strict=True))
    print(f"| add against the copy, median of the pairs' ratios | {ratio:.2f} | |", flush=True)


def ours(work: Path, versions: int) -> dict[str, list[float]]:
    """What `mlflow_registry.py` does, with this registry: each version is a folder, copied, hashed and fsynced."""
    registry = Registry(work / "ours")
    inputs = (KnowledgeInput(input="base", at="2020-01-01T00:00:00Z", kind="asserted"),)
    given = {"method": {"name": "lora"}, "base": {"fingerprint": "declared"}, "knowledge": Knowledge.of(inputs)}
    small, large = adapter_folder(work / "small", 0, size=1000), work / "large"
    draw = random.Random(0)
    taken: dict[str, list[float]] = {}

    def store(name: str, folder: Path, seed: int) -> None:
        tags, metrics = [TASKS[seed % 5]], {"accuracy": draw.random()}
        manifest = Manifest.model_validate({**given, "seed": seed, "tags": tags, "metrics": metrics})
        registry.add(folder, manifest, name=name)

    for place in range(versions):
        name = f"acme/n{place // 50}"
        taken.setdefault("create", []).extend(milliseconds(lambda: store(name, small, place), 1))  # noqa: B023
        if place % 50 == 49:
            set_alias = lambda: registry.set_alias(name, "champion", 7)  # noqa: B023, E731
            taken.setdefault("alias", []).extend(milliseconds(set_alias, 1))
    registry.search("")
    taken["by number"] = milliseconds(lambda: registry.resolve("acme/n0@7"), 50)
    taken["by alias"] = milliseconds(lambda: registry.resolve("acme/n0@champion"), 50)
    taken["search by tag"] = milliseconds(lambda: registry.search("tag = tone"), 30)
    best = "metrics.accuracy > 0.85 ORDER BY metrics.accuracy DESC"
    taken["search by metric"] = milliseconds(lambda: registry.search(best), 30)
    seeds = iter(range(20))
    taken["store 5 MB"] = milliseconds(lambda: store("acme/files", large, next(seeds)), 20)
    return taken


def beside_mlflow(work: Path, python: str, versions: int) -> None:
    """Ours and MLflow's, each in SQLite's way or its own, at the same work on the same disk."""
    large = adapter_folder(work / "large", 0)
    mine = ours(work, versions)
    script = str(Path(__file__).with_name("mlflow_registry.py"))
    (work / "theirs").mkdir()
    command = [python, script, str(work / "theirs"), str(large), str(versions)]
    theirs = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"\n| {versions} versions, p50 | ours | MLflow | MLflow / ours |\n|---|---|---|---|")
    for operation, name in OPERATIONS.items():
        mean, other = statistics.median(mine[operation]), statistics.median(theirs[operation])
        print(f"| {name} | {mean:.2f} ms | {other:.2f} ms | {other / mean:.1f} |")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--root", type=Path)
    at_size = {"rebuild": rebuild, "search": search, "process": process, "resolve": resolve}
    parser.add_argument("--mlflow", metavar="PYTHON", default=sys.executable if find_spec("mlflow") else None)
    parser.add_argument("--beside", type=int, default=500, help="versions that MLflow and ours each register")
    apart = {"add": add, "mlflow": lambda work: beside_mlflow(work, arguments.mlflow, arguments.beside)}
    parser.add_argument("--only", nargs="+", choices=[*at_size, *apart], default=[*at_size, *apart])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = (arguments.root or work / "root").absolute()
        os.environ.update(AHF_HOME=str(root), AHF_CACHE=str(work / "cache"))
        if not (root / "registry.json").is_file() and set(arguments.only) & set(at_size):
            write_registry(root, arguments.versions)
        print("| | p50 | p95 |\n|---|---|---|")
        for part in arguments.only:
            if part == "mlflow" and arguments.mlflow is None:
                print("MLflow isn't installed here: `pip install adapterhub-fin[bench]` brings it", file=sys.stderr)
            elif part in at_size:
                at_size[part](root)
            else:
                apart[part](work)


if __name__ == "__main__":
    main()
