"""What is not written as a graph: each is refused by one sentence, and nothing of it is left on the disk."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from peft import IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.exporting.finding import StoredAdapter
from adapterhub_fin.exporting.onnx import rules
from adapterhub_fin.exporting.onnx_graph import options, quantize
from adapterhub_fin.exporting.onnx_graph.measuring import Difference, difference, worst
from adapterhub_fin.exporting.tei import rules as tei_rules
from adapterhub_fin.plugin.answers import AnswerForm

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def registry(trained: Run) -> ahf.Registry:
    return ahf.Registry(trained.version.folder.parents[4])


@pytest.fixture
def refused(registry: ahf.Registry, encoder: Path, tmp_path: Path) -> Iterator[Refused]:
    """Export and return the sentence of the refusal; no file is there afterwards."""

    def run(error: type[Exception], reference: str = "acme/tone", **given: Any) -> str:
        (tmp_path / "desk").mkdir(exist_ok=True)
        given = {"registry": registry, "base": encoder, "layout": "onnx", **given}
        with pytest.raises(error) as raised:
            ahf.export(reference, tmp_path / "desk" / "out", **given)
        assert list((tmp_path / "desk").iterdir()) == []
        assert "\n" not in str(raised.value)
        return str(raised.value)

    yield run


def test_a_graph_that_moves_a_probability_too_far(traced_once: None, refused: Refused) -> None:
    message = refused(ahf.Unsupported, precision="int8", max_change=1e-5)
    assert "a probability is off by 0.00" in message and "1e-05 is allowed" in message and "fp32" in message


def test_a_graph_that_changes_labels(traced_once: None, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier of the written graph is made to answer another label."""
    import onnx
    from onnx import numpy_helper

    def spoil(path: Path, precision: str) -> None:
        model = onnx.load(path)
        bias = next(each for each in model.graph.initializer if each.name.endswith("classifier.bias"))
        bias.CopyFrom(numpy_helper.from_array(np.array([9.0, 0.0, -9.0], dtype=np.float32), bias.name))
        onnx.save(model, path)

    monkeypatch.setattr(quantize, "quantize", spoil)
    message = refused(ahf.Unsupported, precision="int8", max_change=1.0)
    assert "rows get other labels" in message and "1.0% are allowed" in message


def test_wrong_options(refused: Refused, tmp_path: Path) -> None:
    assert "fp32" in refused(ahf.BadRecipe, precision="int4")
    assert "did you mean precision" in refused(ahf.BadRecipe, precison="int8")
    assert "sample" in refused(ahf.BadRecipe, sample=0)
    assert "max_change" in refused(ahf.BadRecipe, max_change=-1)
    assert "give a table" in refused(ahf.BadRecipe, text=("headline",))
    assert "into is for the layout merged" in refused(ahf.Refused, into="original")
    assert "no option of the layout peft" in refused(ahf.Refused, layout="peft", base=None, precision="int8")
    (tmp_path / "empty.csv").write_text("text\n")
    assert "there is no row to compare" in refused(ahf.BadCorpus, table=tmp_path / "empty.csv")
    (tmp_path / "other.csv").write_text("words\nfine\n")
    assert "no text" in refused(ahf.BadText, table=tmp_path / "other.csv")


def test_a_missing_extra_names_the_command(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "PACKAGES", ("onnx", "a_package_that_is_not_installed"))
    message = refused(ahf.BadConfiguration)
    assert message == "the layout onnx needs a_package_that_is_not_installed: pip install 'adapterhub-fin[onnx]'"


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (IA3Config(task_type="SEQ_CLS", target_modules=["query"], feedforward_modules=[]), "it is IA3"),
        (PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3), "it is PREFIX_TUNING"),
        (LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], bias="all"), "biases were trained"),
    ],
)
def test_methods_that_add_no_matrices(plan: Any, says: str, refused: Refused, encoder: Path, tmp_path: Path) -> None:
    model = get_peft_model(AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2), plan)
    model.save_pretrained(tmp_path / "theirs")
    ahf.import_folder(tmp_path / "theirs", "acme/theirs", base="acme/base", labels=["a", "b"])
    rows = tmp_path / "rows.csv"
    rows.write_text("text\nArlo: profit rose.\n")
    message = refused(ahf.Unsupported, "acme/theirs", registry=ahf.Registry(), table=rows)
    assert "can't be written as a graph" in message and says in message
    report = ahf.check("acme/theirs", "onnx")
    assert not report.served and says in report.findings[0].says
    assert not ahf.check("acme/theirs", "tei").served


def test_a_language_model_names_the_layouts_that_fit(refused: Refused, decoder: Path, tmp_path: Path) -> None:
    plan = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(decoder), plan).save_pretrained(tmp_path / "theirs")
    ahf.import_folder(tmp_path / "theirs", "acme/notes", base="acme/base")
    message = refused(ahf.Unsupported, "acme/notes", registry=ahf.Registry(), base=decoder)
    assert "--layout merged" in message and "--layout vllm" in message
    assert [finding.rule for finding in ahf.check("acme/notes", "onnx").findings] == ["task"]
    assert "task" in {finding.rule for finding in ahf.check("acme/notes", "tei").findings}


def stored(**changed: Any) -> StoredAdapter:
    config = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, **changed.pop("config", {})}
    return StoredAdapter(config, {}, {}, ("a", "b"), None, **{"head": "classify", **changed})


def test_what_a_version_says_is_enough_to_refuse_it() -> None:
    assert rules(stored(), None) == []
    assert rules(stored(config={"use_dora": True}), None) == []
    assert [each.rule for each in rules(stored(is_quantized=True), None)] == ["quantization"]
    assert [each.rule for each in rules(stored(head="nobody-has-it"), None)] == ["head"]
    assert [each.rule for each in rules(stored(config={"peft_type": None}), None)] == ["type"]
    assert rules(stored(config={"peft_type": None}, is_low_rank=True), None) == []
    assert [each.rule for each in rules(stored(config={"task_type": "TOKEN_CLS"}), None)] == ["task"]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"architecture": "BertModel"}, {"reading": "unsure"}),
        ({"architecture": "MPNetModel"}, {"architecture": "refused", "reading": "unsure"}),
        ({"architecture": None}, {"architecture": "unsure", "reading": "unsure"}),
        ({"architecture": "BertModel", "head": "multi-label"}, {"answers": "wrong", "reading": "unsure"}),
        ({"architecture": "BertModel", "head": "regress"}, {"answers": "wrong", "reading": "unsure"}),
        ({"architecture": "BertModel", "head_options": {"pooling": "mean"}}, {"head": "refused", "reading": "unsure"}),
        (
            {"architecture": "MPNetModel", "head": "contrastive", "config": {"task_type": "FEATURE_EXTRACTION"}},
            {"pooling": "unsure", "reading": "unsure"},
        ),
        (
            {"architecture": "MistralModel", "head": None, "config": {"task_type": None}},
            {"architecture": "unsure", "pooling": "unsure", "reading": "unsure"},
        ),
    ],
)
def test_what_text_embeddings_inference_takes(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert {each.rule: each.level for each in tei_rules(stored(**changed), None)} == found


def test_a_folder_that_is_not_empty_or_can_not_be_written(registry: ahf.Registry, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(ahf.Refused, match="exists already"):
        ahf.export("acme/tone", tmp_path / "full", layout="onnx", registry=registry)
    with pytest.raises(ahf.WriteFailed, match="choose another folder"):
        ahf.export("acme/tone", tmp_path / "full" / "file" / "out", layout="onnx", registry=registry)
    assert (tmp_path / "full" / "file").read_text() == "mine"


SHAPE = st.tuples(st.integers(1, 9), st.integers(2, 4))
OUTPUTS = SHAPE.flatmap(
    lambda shape: st.tuples(*[arrays(np.float32, shape, elements=st.floats(-9, 9, width=32)) for _ in "ab"])
)


@given(OUTPUTS)
def test_the_difference_is_that_of_torch(pair: tuple[Any, Any]) -> None:
    one, other = (torch.tensor(each, dtype=torch.float64) for each in pair)
    labels = tuple("abcd"[: one.shape[1]])
    of_softmax = difference(AnswerForm("softmax", labels=labels), *pair)
    assert of_softmax.change == pytest.approx(float((one.softmax(1) - other.softmax(1)).abs().max()), abs=1e-12)
    assert of_softmax.labels_changed == int((pair[0].argmax(1) != pair[1].argmax(1)).sum())
    thresholds = tuple(0.2 + 0.1 * number for number in range(one.shape[1]))
    of_sigmoid = difference(AnswerForm("sigmoid", labels=labels, thresholds=thresholds), *pair)
    assert of_sigmoid.change == pytest.approx(float((one.sigmoid() - other.sigmoid()).abs().max()), abs=1e-12)
    limits = torch.tensor(thresholds, dtype=torch.float64).logit()
    assert of_sigmoid.labels_changed == int(((one >= limits) != (other >= limits)).any(1).sum())
    of_number = difference(AnswerForm("linear", centre=3, scale=-2.5), pair[0][:, :1], pair[1][:, :1])
    assert of_number.change == pytest.approx(2.5 * of_number.relative) and of_number.labels_changed is None
    assert difference(AnswerForm("vector"), one.numpy() + 99, 2 * (one.numpy() + 99)).change == pytest.approx(
        0, abs=1e-9
    )


def test_a_limit_holds_at_the_limit_and_not_beyond() -> None:
    exact = Difference(100, 1, 0.05, 0.05, "probability")
    exact.check(0.01, 0.05, "it", "int8")
    for wrong in (Difference(100, 2, 0, 0, "probability"), Difference(100, 0, 0.051, 0.051, "probability")):
        with pytest.raises(ahf.Unsupported, match="does not answer as torch does"):
            wrong.check(0.01, 0.05, "it", "int8")
    assert worst(exact, Difference(100, 3, 0.01, 0.01, "probability")) == Difference(100, 3, 0.05, 0.05, "probability")
    with pytest.raises(ahf.NotFinite):
        difference(AnswerForm("vector"), np.ones((1, 2), np.float32), np.full((1, 2), np.nan, np.float32))


def test_the_manifest_of_int8_says_so_and_nothing_is_logged(
    traces: dict[str, dict[str, bytes]],
    traced_once: None,
    registry: ahf.Registry,
    encoder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a program that configured none
    monkeypatch.delitem(sys.modules, "onnxruntime.quantization.matmul_nbits_quantizer", raising=False)
    level = logging.root.level
    traces.clear()  # for the tracer is what logs
    capfd.readouterr()
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "Arlo: profit rose."}) + "\n")
    exported = {"layout": "onnx", "base": encoder, "registry": registry, "table": tmp_path / "rows.jsonl"}
    small = ahf.export("acme/tone", tmp_path / "int8", precision="int8", **exported)  # type: ignore[arg-type]
    assert small.graph is not None and small.graph["precision"] == "int8"
    assert small.graph["measured"]["table"] == "rows.jsonl" and small.graph["measured"]["rows"] == 1
    import onnx

    kinds = {node.op_type for node in onnx.load(small.folder / "model.onnx").graph.node}
    assert "MatMulNBits" in kinds
    dynamic = ahf.export("acme/tone", tmp_path / "dynamic", precision="int8-dynamic", **exported)  # type: ignore[arg-type]
    nodes = onnx.load(dynamic.folder / "model.onnx").graph.node
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= {node.op_type for node in nodes}
    assert {node.domain for node in nodes} == {""}  # standard operators, which others than ONNX Runtime have
    assert (dynamic.folder / "model.onnx").stat().st_size < 110_000 < 139_819  # of fp32
    assert capfd.readouterr() == ("", "") and (logging.root.handlers, logging.root.level) == ([], level)
