"""A version as an ONNX graph: answered without torch as with it, in any shape of batch, and refused where it is not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
import torch
from datasets import Dataset

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.exporting.onnx_graph.tokenizer import write_tokenizer
from adapterhub_fin.plugin import KnownAt, Rows

CLIENT = Path(__file__).parents[2] / "examples" / "onnx_client/client.py"
TRAINING = {"epochs": 4, "batch_size": 8, "max_length": 24, "learning_rate": 5e-3}
ROWS: list[dict[str, Any]] = [
    {
        "text": f"Firm {number}: {'profit rose' if number % 2 else 'profit fell'}{' in the quarter' * (number % 5)}.",
        "label": ["up", "big"] if number % 6 == 1 else ["up"] if number % 2 else [],
        "target": 100.0 + 7 * (number % 2) - number % 3,
        "features": [float(number % 4) if number % 7 else None, 2.0 * (number % 3)],
    }
    for number in range(48)
]
LONG = ["Margins widened. " * 40, "a", "Q3", "Net sales rose 12.5% to EUR 1,234.56 million.", "Zürich 日本 ½"]
MANY = [f"Text {number} {'word ' * (number % 9)}" for number in range(64)]
# Without torch, transformers, peft or adapterhub_fin: an import of any of them fails.
ALONE = """
import importlib.util, json, sys
for name in ("torch", "transformers", "peft", "datasets", "adapterhub_fin", "safetensors", "pandas"):
    sys.modules[name] = None
spec = importlib.util.spec_from_file_location("client", sys.argv[1])
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)
folder, batches = json.load(sys.stdin)
client = client.Client(folder)
answers = [client.predict(texts, features) for texts, features in batches]
plain = lambda value: value.tolist() if hasattr(value, "tolist") else value
print(json.dumps([[[plain(part) for part in row] if isinstance(row, tuple) else plain(row) for row in batch]
                  for batch in answers]))
"""


def alone(folder: Path, batches: list[tuple[list[str], Any]]) -> Any:
    """What the client answers to each batch in a process that has neither torch nor this project."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(CLIENT)],
        input=json.dumps([str(folder), batches]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def table(folder: Path, rows: Any = ROWS) -> Path:
    """The rows as a file."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def registry(trained: Run) -> ahf.Registry:
    return ahf.Registry(trained.version.folder.parents[4])


@pytest.fixture(scope="module")
def tone(registry: ahf.Registry, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """acme/tone@1 as a graph in fp32, measured on its own validation rows."""
    folder = tmp_path_factory.mktemp("desk") / "tone"
    return ahf.export("acme/tone", folder, layout="onnx", base=encoder, registry=registry)


def test_a_client_without_torch_answers_as_predict_in_every_shape_of_batch(
    tone: Any, registry: ahf.Registry, encoder: Path
) -> None:
    adapter = ahf.load("acme/tone@1", base=encoder, registry=registry)
    batches: list[tuple[list[str], Any]] = [([text], None) for text in LONG] + [(LONG, None), (MANY, None)]
    for (texts, _), answers in zip(batches, alone(tone.folder, batches), strict=True):
        for (label, scores), expected in zip(answers, adapter.predict(texts), strict=True):
            assert label == expected.label
            assert scores == pytest.approx(list(expected.scores.values()), abs=1e-5)


def test_padding_on_either_side_changes_no_more_than_in_torch(tone: Any, registry: ahf.Registry, encoder: Path) -> None:
    adapter = ahf.load("acme/tone@1", base=encoder, registry=registry)
    session = onnxruntime.InferenceSession(tone.folder / "model.onnx")
    for side in ("left", "right"):
        adapter.tokenizer.padding_side = side
        batch = adapter.tokenizer(LONG, padding=True, truncation=True, max_length=24, return_tensors="pt")
        batch.pop("token_type_ids", None)
        with adapter.answering():
            expected = adapter.model(**batch).logits.numpy()
        outputs = session.run(None, {name: value.numpy() for name, value in batch.items()})[0]
        assert np.abs(outputs - expected).max() < 1e-5


def test_the_tokenizer_alone_gives_the_ids_of_training(tone: Any, registry: ahf.Registry, encoder: Path) -> None:
    adapter = ahf.load("acme/tone@1", base=encoder, registry=registry)
    written = tokenizers.Tokenizer.from_file(str(tone.folder / "tokenizer.json"))
    expected = adapter.tokenizer(LONG, padding=True, truncation=True, max_length=32)
    encoded = written.encode_batch(LONG)
    assert [each.ids for each in encoded] == expected["input_ids"] and len(encoded[0].ids) == 32
    assert [each.attention_mask for each in encoded] == expected["attention_mask"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizer_cuts_and_pads_whatever_was_read_before(
    side: str, registry: ahf.Registry, encoder: Path, tmp_path: Path
) -> None:
    tokenizer = (adapter := ahf.load("acme/tone@1", base=encoder, registry=registry)).tokenizer
    tokenizer.truncation_side = tokenizer.padding_side = side
    tokenizer.backend_tokenizer.no_truncation()  # as before the first text
    tokenizer.backend_tokenizer.no_padding()
    written = write_tokenizer(adapter, tmp_path / "tokenizer.json")
    expected = tokenizer(LONG, padding=True, truncation=True, max_length=32)
    assert [each.ids for each in written.encode_batch(LONG)] == expected["input_ids"]
    assert len(written.encode("a " * 99).ids) == 32 and len(expected["input_ids"][0]) == 32


def test_the_manifest_says_what_it_is_and_how_far_off(tone: Any, trained: Run) -> None:
    manifest = json.loads((tone.folder / "manifest.json").read_text())
    assert manifest == tone.graph and manifest["digest"] == trained.version.digest
    assert (manifest["reference"], manifest["precision"], manifest["opset"]) == ("acme/tone@1", "fp32", 18)
    ends = manifest["knowledge_end"]
    assert ends["with_base"] == trained.version.manifest.knowledge.end and ends["without_base"] <= ends["with_base"]
    measured = manifest["measured"]
    assert measured["rows"] == trained.version.manifest.corpus.rows["validation"]  # type: ignore[union-attr]
    assert measured["labels_changed"] == 0 and 0 < measured["largest_change"] < 1e-5
    assert measured["unit"] == "probability" and measured["cpu"]["name"]
    assert {file["path"] for file in manifest["files"]} == {"answer.json", "model.onnx", "tokenizer.json"}
    assert sorted(path.name for path in tone.folder.iterdir()) == [
        *("answer.json", "manifest.json", "model.onnx", "tokenizer.json")
    ]


def test_two_exports_give_the_same_bytes_and_no_path_of_this_machine(
    tone: Any, registry: ahf.Registry, encoder: Path, tmp_path: Path
) -> None:
    again = ahf.export("acme/tone@1", tmp_path / "other" / "place", layout="onnx", base=encoder, registry=registry)
    assert again.graph["files"] == tone.graph["files"]
    content = b"".join(path.read_bytes() for path in sorted(tone.folder.iterdir()))
    import transformers

    for place in (Path(torch.__file__).parent, Path(transformers.__file__).parent, encoder, Path.cwd(), Path.home()):
        assert str(place).encode() not in content or place == Path("/")
    assert b".py" not in content and b"site-packages" not in content
    model = onnx.load(tone.folder / "model.onnx")
    assert not model.metadata_props and not any(node.metadata_props or node.doc_string for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)


def test_a_changed_file_is_refused_by_the_client(tone: Any, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tone.folder, folder)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    done = subprocess.run([sys.executable, CLIENT, folder, "Hi"], capture_output=True, text=True)
    assert done.returncode == 1 and "is not what was exported" in done.stderr
    done = subprocess.run([sys.executable, CLIENT, tone.folder, "Hi"], capture_output=True, text=True)
    assert done.returncode == 0 and "array" in done.stdout


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-dynamic"])
def test_weights_of_a_large_model_are_in_a_file_of_their_own(
    precision: str,
    traced_once: None,
    registry: ahf.Registry,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from adapterhub_fin.exporting.onnx_graph import graph

    monkeypatch.setattr(graph, "ONE_FILE", 1000)
    given = {"layout": "onnx", "base": encoder, "registry": registry, "precision": precision}
    done = ahf.export("acme/tone@1", tmp_path / "large", **given)  # type: ignore[arg-type]
    files = {file["path"]: file["size"] for file in done.graph["files"]}  # type: ignore[index]
    assert set(files) == {"answer.json", "model.onnx", "model.onnx.data", "tokenizer.json"}
    assert files["model.onnx.data"] > 30_000 and {path.name for path in done.folder.iterdir()} == {
        *files,
        "manifest.json",
    }
    expected = ahf.load("acme/tone@1", base=encoder, registry=registry).predict(LONG)
    moved = done.folder.rename(tmp_path / "moved")
    for (_, scores), wanted in zip(alone(moved, [(LONG, None)])[0], expected, strict=True):
        assert scores == pytest.approx(list(wanted.scores.values()), abs=1e-5 if precision == "fp32" else 0.05)


Train = Callable[..., str]


@pytest.fixture
def train(home: Path) -> Iterator[Train]:
    """Train acme/desk in this test's registry on a base, with a head and a method."""

    def run(base: Path, head: Any, rows: list[dict[str, Any]], method: Any = None) -> str:
        DeskRows.rows = rows
        target = f"{__name__}:DeskRows"
        ahf.register(ahf.Corpus(name="desk", summary="Invented.", target=target, license="CC0-1.0", source="none"))
        method = method or {"name": "lora", "rank": 4, "alpha": 64}
        recipe = {"base": {"path": str(base)}, "method": method, "head": head, "training": TRAINING}
        corpus = {"name": "desk", "splitter": {"by": "random"}}
        return ahf.train(name="acme/desk", corpus=corpus, **recipe).version.reference

    yield run


class DeskRows:
    """The rows that a test sets."""

    rows: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        return Rows(Dataset.from_list(self.rows), KnownAt(datetime(2024, 1, 1, tzinfo=UTC), "asserted", "invented"))


def of(*columns: str) -> list[dict[str, Any]]:
    """These columns of the rows."""
    return [{name: row[name] for name in columns} for row in ROWS]


def test_several_labels(train: Train, encoder: Path, tmp_path: Path) -> None:
    head = {"name": "multi-label", "threshold": {"up": 0.6, "big": 0.1}}
    reference = train(encoder, head, of("text", "label"), {"name": "lora", "rank": 2, "dora": True})
    done = ahf.export(reference, tmp_path / "out", layout="onnx", table=table(tmp_path), max_change=1e-5)
    assert done.graph["measured"]["unit"] == "probability" and done.graph["measured"]["rows"] == 48
    texts = [row["text"] for row in ROWS]
    expected = ahf.load(reference).predict(texts)
    for (labels, scores), wanted in zip(alone(done.folder, [(texts, None)])[0], expected, strict=True):
        assert labels == list(wanted.labels)
        assert scores == pytest.approx(list(wanted.scores.values()), abs=1e-5)
    assert any("big" in answer.labels and answer.scores["big"] < 0.5 for answer in expected)  # its own threshold counts


def test_a_number_of_a_network_on_the_mean(train: Train, encoder: Path, tmp_path: Path) -> None:
    reference = train(encoder, {"name": "regress", "network": "mlp", "pooling": "mean"}, of("text", "target"))
    done = ahf.export(reference, tmp_path / "out", layout="onnx", table=table(tmp_path), sample=20)
    measured = done.graph["measured"]
    assert (measured["unit"], measured["rows"]) == ("value", 20) and "labels_changed" not in measured
    expected = [answer.value for answer in ahf.load(reference).predict(LONG)]
    assert alone(done.folder, [(LONG, None)])[0] == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 1e-2 and min(expected) > 50


def test_numbers_beside_the_text(train: Train, encoder: Path, tmp_path: Path) -> None:
    reference = train(encoder, {"name": "fusion"}, of("text", "target", "features"))
    done = ahf.export(reference, tmp_path / "out", layout="onnx", table=table(tmp_path))
    rows = [
        {"text": text, "features": numbers}
        for text, numbers in zip(LONG, [[1.0, 2.0]] * 3 + [[None, 4.0]] * 2, strict=True)
    ]
    features = [[math.nan if value is None else value for value in row["features"]] for row in rows]
    answers = alone(done.folder, [(LONG, features)])[0]
    for (label, scores), wanted in zip(answers, ahf.load(reference).predict(rows), strict=True):
        assert label == wanted.label and scores == pytest.approx(list(wanted.scores.values()), abs=1e-5)
    one, other = alone(done.folder, [([LONG[1]], [[0.0, 0.0]]), ([LONG[1]], [[3.0, 4.0]])])
    assert np.abs(np.subtract(one[0][1], other[0][1])).max() > 1e-4  # the numbers are read


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_vectors(kind: str, train: Train, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pairs = [{"anchor": row["text"], "positive": f"About {row['text'][5:]}"} for row in ROWS]
    base: Path = request.getfixturevalue(kind)
    reference = train(base, "contrastive", pairs)
    options: dict[str, Any] = {"normalize": True} if kind == "encoder" else {"pooling": "last", "layer": 1}
    texts = table(tmp_path, [{"text": text} for text in MANY])
    done = ahf.export(reference, tmp_path / "out", layout="onnx", table=texts, **options)
    assert done.graph["measured"]["unit"] == "1 - cosine"
    expected = ahf.load(reference).embed(LONG, **options)
    assert np.abs(np.array(alone(done.folder, [(LONG, None)])[0]) - expected).max() < 1e-5
    with pytest.raises(ahf.BadRecipe, match="there is no layer 9"):
        ahf.export(reference, tmp_path / "none", layout="onnx", table=texts, layer=9)


def test_a_decoder_that_classifies(train: Train, decoder: Path, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": "up" if row["label"] else "down"} for row in ROWS]
    reference = train(decoder, "classify", rows)
    done = ahf.export(reference, tmp_path / "out", layout="onnx", table=table(tmp_path, rows))
    for texts in (LONG[:1], LONG, MANY):
        answers = alone(done.folder, [(texts, None)])[0]
        for (label, scores), wanted in zip(answers, ahf.load(reference).predict(texts), strict=True):
            assert label == wanted.label and scores == pytest.approx(list(wanted.scores.values()), abs=1e-5)
