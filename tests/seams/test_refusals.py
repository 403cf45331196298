"""Whatever can be refused without torch is refused before it is imported: on the command line and in Python. G 32"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.check import first_difference
from adapterhub_fin.engine.merging.parents import _far_apart
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin_registry.model.manifest import WeightProbe

DENIED = ["torch", "transformers", "peft", "numpy", "datasets", "accelerate", "pyarrow", "pandas", "scipy"]

# Each of many in one process, which ends with the first that imports too much.
CODE = """
import json, sys
from contextlib import redirect_stderr
from io import StringIO
from adapterhub_fin.cli import main
denied, commands = json.load(sys.stdin)
for status, said, command in commands:
    with redirect_stderr(StringIO()) as told:
        try:
            main(command)
        except SystemExit as leave:
            code = leave.code
    error = told.getvalue()
    assert code == status and said in error, (command, code, error)
    assert error.count("\\n") == 1 or status == 2, (command, error)
    loaded = sorted(name for name in denied if name in sys.modules)
    assert not loaded, (command, loaded)
print(len(commands))
"""


@pytest.fixture(scope="module")
def stock(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with acme/tone@1, and acme/other@1 that says it is of another base."""
    home = tmp_path_factory.mktemp("refusals") / "home"
    shutil.copytree(trained.version.folder.parents[4], home)
    labels = trained.version.manifest.head.labels  # type: ignore[union-attr]
    kept = ahf.Registry(home)
    ahf.import_folder(trained.version.files, "acme/other", base="acme/base", labels=labels, registry=kept)
    return home


def _run(home: Path, code: str, given: object) -> str:
    env = {**os.environ, "AHF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    told = json.dumps(given)
    done = subprocess.run([sys.executable, "-c", code], env=env, input=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command_is_refused_before_torch_is_imported(stock: Path, encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: acme/x\ncorpus: headlines\nmethod: {name: lora, rnak: 3}\n")
    (tmp_path / "broken.yaml").write_text("name: [")
    (tmp_path / "day.csv").write_text("text\n")
    (tmp_path / "latin.txt").write_bytes(b"Caf\xe9\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    rows = ["--set", f"path={tmp_path / 'rows.csv'}"]
    new = ["train", "--name", "acme/x", "--set", f"base.path={encoder}"]
    sweep = ["sweep", "--name", "acme/x", "--set", "corpus=headlines"]
    both, nowhere = ["acme/tone@1", "acme/other@1"], str(tmp_path / "nowhere")
    graph = ["export", "acme/tone", nowhere, "--layout", "onnx"]
    commands: Sequence[tuple[int, str, list[str]]] = [
        (1, "no adapter named acme/none", ["predict", "acme/none", "Hi"]),
        (1, "no adapter named acme/none", ["monitor", "acme/none", "--table", str(tmp_path / "day.csv")]),
        (1, "alpha is 2.0", ["monitor", "acme/tone", "--table", str(tmp_path / "day.csv"), "--alpha", "2"]),
        (1, "has no row", ["monitor", "acme/tone", "--table", str(tmp_path / "day.csv"), "--corpus", "headlines"]),
        (1, "writes no text", ["evaluate", "acme/tone", "headlines", "--generate"]),
        (1, "set generate", ["evaluate", "acme/tone", "headlines", "--chat"]),
        (1, "there is no acme/tone@9", ["predict", "acme/tone@9", "Hi"]),
        (1, "there is no acme/tone@champion", ["embed", "acme/tone@champion", "Hi"]),
        (1, "isn't a date", ["predict", "acme/tone", "Hi", "--as-of", "June"]),
        (1, "no version of acme/tone ended", ["predict", "acme/tone", "Hi", "--as-of", "2001-01-01"]),
        (1, "can't be read", ["predict", "acme/tone", "--file", nowhere]),
        (1, "not UTF-8", ["embed", "acme/tone", "--file", str(tmp_path / "latin.txt")]),
        (1, "is empty", ["predict", "acme/tone", ""]),
        (1, "holds no config.json", ["predict", "acme/tone", "Hi", "--base", nowhere]),
        (1, "is not on this machine", ["predict", "acme/other", "Hi"]),
        (1, "can't generate text", ["generate", "acme/tone", "Hi"]),
        (1, "top_p", ["generate", "acme/tone", "Hi", "--top-p", "2"]),
        (2, "does not exist", ["embed", "acme/tone", "Hi", "--out", f"{nowhere}/x.npy"]),
        (2, "No such option", ["predict", "acme/tone", "Hi", "--btach-size", "3"]),
        (1, "no adapter named acme/none", ["merge", "acme/tone", "acme/none", "--into", "acme/x"]),
        (1, "merge adapters of one base", ["merge", *both, "--into", "acme/x"]),
        (1, "no merger is named", ["merge", *both, "--using", "tise", "--into", "acme/x"]),
        (1, "there is no option", ["merge", *both, "--using", "ties", "--set", "desnity=1", "--into", "acme/x"]),
        (1, "slerp merges 2", ["merge", "acme/tone", "--using", "slerp", "--into", "acme/x"]),
        (1, "its space is exact", ["merge", *both, "--space", "dense", "--into", "acme/x"]),
        (1, "isn't a reference", ["merge", *both, "--into", "x"]),
        (1, "does not exist", ["merge", *both, "--check", "table", "--check-set", "path=/nowhere", "--into", "acme/x"]),
        (1, "there is no folder", ["import", nowhere, "--as", "acme/x"]),
        (1, "no adapter named acme/none", ["diff", "acme/none", "acme/tone"]),
        (1, "no adapter named acme/none", ["check", "acme/none", "--target", "vllm"]),
        (1, "exists already", ["export", "acme/tone", str(tmp_path / "full")]),
        (1, "holds no config.json", ["export", "acme/tone", nowhere, "--layout", "merged", "--base", nowhere]),
        (1, "should be 'fp32', 'int8' or 'int8-dynamic'", [*graph, "--precision", "fp16"]),
        (1, "has no recipe that names a corpus", ["export", "acme/other", nowhere, "--layout", "onnx"]),
        (1, "does not exist", [*graph, "--corpus", "table", "--set", f"path={nowhere}"]),
        (1, "holds no config.json", [*graph, "--corpus", "headlines", "--base", nowhere]),
        (1, "are for vectors", [*graph, "--corpus", "headlines", "--pooling", "mean"]),
        (1, "leave one of them out", [*graph, "--corpus", "headlines", "--table", str(tmp_path / "day.csv")]),
        (1, "can't be written", ["export", "acme/tone", str(tmp_path / "day.csv" / "x"), "--layout", "onnx"]),
        (1, "exists already", ["export", "acme/tone", str(tmp_path / "full"), "--layout", "onnx"]),
        (1, "no option of the layout vllm", ["export", "acme/tone", nowhere, "--layout", "vllm", "--sample", "3"]),
        (1, "leave engine out", [*graph, "--engine", "vllm"]),
        (2, "for the file of --table", [*graph, "--text", "headline"]),
        (1, "no adapter named acme/none", ["evaluate", "acme/none", "headlines"]),
        (1, "no corpus is named", ["evaluate", "acme/tone", "headlnes"]),
        (1, "does not exist", ["evaluate", "acme/tone", "table", *rows]),
        (1, "holds no config.json", ["evaluate", "acme/tone", "headlines", "--base", nowhere]),
        (1, "no adapter named acme/none", ["compare", "acme/none", "acme/tone"]),
        (1, "named twice", ["compare", "acme/tone", "acme/tone"]),
        (1, "does not exist", ["compare", "acme/tone", "base", "--corpus", "table", *rows]),
        (1, "holds no config.json", ["compare", "acme/tone", "base", "--corpus", "headlines", "--base", nowhere]),
        (1, "no adapter named acme/none", ["probe", "acme/none"]),
        (1, "no adapter named acme/none", ["forgetting", "acme/none", "headlines"]),
        (1, "does not exist", ["forgetting", "acme/tone", "table", *rows]),
        (1, "does not exist", ["probe", "acme/tone", "--corpus", "table", *rows]),
        (1, "holds no config.json", ["probe", "acme/tone", "--corpus", "headlines", "--base", nowhere]),
        (1, "holds no config.json", ["extract", nowhere, "--base", str(encoder), "--into", "acme/x"]),
        (1, "there is no option 'rnk'", [*sweep, "--over", "method.rnk=4,8"]),
        (1, "sweep: method.rank=0", [*sweep, "--over", "method.rank=4,0"]),
        (1, "seeds are repetitions", [*sweep, "--over", "training.seed=1,2"]),
        (1, "is a range", [*sweep, "--over", "training.learning_rate=1e-4..1e-3"]),
        (1, "needs the number of combinations", [*sweep, "--over", "method.rank=4,8", "--search", "optuna"]),
        (1, "has no name", ["sweep", "--set", "corpus=headlines", "--over", "method.rank=4,8"]),
        (2, "Missing option", ["sweep", "--set", "corpus=headlines"]),
        (1, "there is no option 'rnak'", ["train", str(tmp_path / "bad.yaml")]),
        (1, "is not YAML", ["train", str(tmp_path / "broken.yaml")]),
        (1, "has no name", ["train", "--set", "corpus=headlines"]),
        (1, "does not exist", [*new, "--set", "corpus.name=table", "--set", f"corpus.path={nowhere}"]),
        (1, "does not exist", [*new, "--set", "corpus.name=text", "--set", f"corpus.path={nowhere}", "--dry-run"]),
        (1, "no head is named", [*new, "--set", "corpus=headlines", "--set", "head=embed"]),
        (1, "no metric of head", [*new, "--set", "corpus=headlines", "--set", "training.metric=f2"]),
        (1, "is not on this machine", ["train", "--name", "acme/x", "--set", "corpus=headlines", "--set", "base=a/b"]),
        (1, "holds no config.json", ["plan", "--set", "corpus=headlines", "--set", f"base={nowhere}"]),
        (1, "the device is", ["plan", "--set", "corpus=headlines", "--set", f"base={encoder}", "--device", "3XB"]),
        (1, "give one of them", [*new, "--set", "corpus=headlines", "--resume", "--restart"]),
    ]
    assert _run(stock, CODE, [DENIED, commands]).split() == [str(len(commands))]


IN_PYTHON = """
import json, sys
import adapterhub_fin as ahf
denied, (encoder, nowhere) = json.load(sys.stdin)
calls = [
    lambda: ahf.load("acme/none"),
    lambda: ahf.load("acme/tone", as_of="June"),
    lambda: ahf.load("acme/tone", base=nowhere),
    lambda: ahf.load("acme/other"),
    lambda: ahf.merge(["acme/tone@1", "acme/other@1"], into="acme/x"),
    lambda: ahf.merge(["acme/tone@1"], into="acme/x", rank=-1),
    lambda: ahf.merge([], into="acme/x"),
    lambda: ahf.evaluate("acme/tone", {"name": "table", "path": nowhere}),
    lambda: ahf.evaluate("acme/tone", "headlines", split="trian"),
    lambda: ahf.probe("acme/tone", {"name": "table", "path": nowhere}),
    lambda: ahf.compare("acme/tone"),
    lambda: ahf.train(name="acme/x", base={"path": encoder}, corpus={"name": "table", "path": nowhere}),
    lambda: ahf.train(name="acme/x", base={"path": nowhere}, corpus="headlines"),
    lambda: ahf.preview(name="acme/x", base={"path": encoder}, corpus="headlines", training={"epochs": -1}),
    lambda: ahf.train_series(name="acme/x", base={"path": encoder}, corpus="headlines"),
    lambda: ahf.extract(nowhere, base=encoder, into="acme/x"),
    lambda: ahf.import_folder(nowhere, "acme/x"),
    lambda: ahf.export("acme/none", nowhere),
    lambda: ahf.diff("acme/none", "acme/tone"),
    lambda: ahf.check("acme/tone", "vlm"),
]
for number, call in enumerate(calls):
    try:
        call()
    except ahf.AdapterHubError as error:
        loaded = sorted(name for name in denied if name in sys.modules)
        assert not loaded, (number, loaded, str(error))
    else:
        raise AssertionError(number)
print(len(calls))
"""


def test_a_call_is_refused_before_torch_is_imported(stock: Path, encoder: Path, tmp_path: Path) -> None:
    assert _run(stock, IN_PYTHON, [DENIED, [str(encoder), str(tmp_path / "nowhere")]]).split() == ["20"]


def test_a_module_is_imported_when_something_of_it_is_used() -> None:
    code = """
import sys
from adapterhub_fin._lazy import Lazy
colorsys = Lazy("colorsys")
assert "colorsys" not in sys.modules
assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0) and "colorsys" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


FLOATS = st.floats(-1e4, 1e4, width=32).map(lambda value: float(f"{value:.9g}"))
TYPES = st.sampled_from(["float32", "bfloat16", "float16", "float64"])


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=8), TYPES, TYPES)
def test_what_is_far_apart_without_torch_differs_by_the_exact_rule(
    pairs: list[tuple[float, float]], one: str, other: str
) -> None:
    probes = [
        WeightProbe.model_construct(dtype=dtype, values={"w": [pair[side] for pair in pairs]})
        for side, dtype in enumerate((one, other))
    ]
    if _far_apart(*probes):
        assert first_difference(*probes, False) is not None
    assert _far_apart(probes[0], probes[0]) is None
