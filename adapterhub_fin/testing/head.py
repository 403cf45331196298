"""Test that a head fits every base it names, and that its weights are stored in the version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from adapterhub_fin.plugin.answers import AnswerForm
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.heads import MergeableHead
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.testing.bench import TEXTS, AtTheBench, Bench, Kind
from adapterhub_fin.testing.fresh import fresh_logits

if TYPE_CHECKING:
    from torch import Tensor

    from adapterhub_fin.engine.training.prepare import LoadedRun
    from adapterhub_fin.engine.training.run import Run


@dataclass(frozen=True)
class Trained:
    """Hold a head on one kind of base, trained for a few steps."""

    bench: Bench
    run: Run


class HeadContract(AtTheBench):
    """Test a head: inherit this and name the head; `bases` says which kinds it fits, `corpus` what it learns from."""

    kind = Head
    bases: ClassVar[tuple[Kind, ...]] = ("encoder", "decoder")
    method: ClassVar[Mapping[str, Any]] = {"name": "lora", "rank": 4, "alpha": 8}
    corpus: ClassVar[Mapping[str, Any] | None] = None  # as in a recipe; by default the tiny corpus of this package
    rows: ClassVar[Sequence[Any]] = TEXTS  # to answer: texts, or rows with what else the head reads

    @pytest.fixture(params=["encoder", "decoder"])
    def trained(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
        """Return the head trained on each kind of base that it fits."""
        if request.param not in self.bases:
            pytest.skip(f"{self.name} is not for bases such as {request.param}s")
        contract = type(self)  # stored there, so that its tests share one training for each base
        by_base: dict[str, Trained] = vars(contract).get("_trained") or {}
        if request.param not in by_base:
            folder = tmp_path_factory.mktemp(request.param)
            head = {"name": self.name, **self.options_for(folder)}
            bench = Bench(folder, request.param, self.method, head, self.corpus)
            by_base[request.param] = Trained(bench, bench.train("head"))
            contract._trained = by_base  # type: ignore[attr-defined]
        return by_base[request.param]

    def test_loss_is_finite_and_falls(self, trained: Trained) -> None:
        from torch.optim import AdamW

        from adapterhub_fin.engine.base.adapter_names import new_adapter_name
        from adapterhub_fin.engine.training.prepare import load_run, prepare

        loaded = load_run(prepare(Recipe.read(trained.bench.recipe("loss"))), new_adapter_name())
        batch = _batch(loaded)
        labels = batch.pop("labels")
        optimizer = AdamW(loaded.model.parameters(), lr=1e-3)
        loaded.model.eval()  # without dropout, so that one batch can be compared with itself
        losses = []
        for _ in range(8):
            loss = loaded.head.loss(loaded.model(**batch), labels)
            weight = loaded.head.weight(labels)
            assert loss.dim() < 2 and loss.shape == weight.shape, (
                f"the loss of a batch is of shape {tuple(loss.shape)}, and its weight of {tuple(weight.shape)}"
            )
            loss = loss.sum()
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert all(math.isfinite(loss) for loss in losses), losses
        assert losses[-1] < losses[0], f"the loss did not fall on its own training rows: {losses}"

    def test_the_weights_of_the_head_are_stored(self, trained: Trained) -> None:
        there = fresh_logits(trained.bench.registry.root, trained.run.reference, trained.bench.base(), self.rows)
        here = trained.run.adapter.logits(self.rows)
        assert float((there - here).abs().max()) == 0, "another process, with another seed, gives other logits"

    def test_one_typed_answer_a_text(self, trained: Trained) -> None:
        answers = trained.run.adapter.predict(self.rows)
        assert len(answers) == len(self.rows)
        kinds = {type(answer) for answer in answers}
        assert len(kinds) == 1 and not kinds & {dict, tuple, list}, f"answers must be of one named type, not {kinds}"

    def test_answers_come_in_the_order_of_the_texts(self, trained: Trained) -> None:
        adapter = trained.run.adapter
        there, back = adapter.logits(self.rows), adapter.logits(self.rows[::-1])
        assert float((there - back.flip(0)).abs().max()) <= 1e-5
        assert list(adapter.predict(self.rows)) == list(trained.run.adapter.head.predictions(there))  # type: ignore[union-attr]

    def test_a_batch_and_single_rows_agree(self, trained: Trained) -> None:
        adapter = trained.run.adapter
        together = adapter.logits(self.rows)
        for row, text in enumerate(self.rows):
            difference = float((adapter.logits([text])[0] - together[row]).abs().max())
            assert difference <= 1e-5, f"the logits of {text!r} alone and padded in a batch differ by {difference:.3g}"

    def test_the_outputs_that_it_names_are_rows_of_stored_tensors(self, trained: Trained) -> None:
        head, version = trained.run.adapter.head, trained.run.version
        assert head is not None and version.manifest.head is not None
        if not isinstance(head, MergeableHead):
            pytest.skip("the head does not name its outputs")
        outputs, modules = head.outputs(), version.manifest.head.modules_to_save
        if not outputs or not modules:
            pytest.skip("the head names no output layer, or stores none")
        bare = {name.removeprefix("base_model.model."): shape for name, _, shape in version.manifest.tensors}
        shapes = {name: tuple(shape) for name, shape in bare.items() if name in outputs}
        count = trained.run.adapter.logits(self.rows).shape[1]
        assert shapes, (
            f"the version stores none of {', '.join(sorted(outputs))}, so heads of other label orders can't be averaged"
        )
        rows = {len(head.labels)} if head.labels else set(range(1, count + 1))  # a head may answer more beside them
        assert all(shape[0] in rows for shape in shapes.values()), f"{shapes} don't all have a row for each output"

    def test_a_stored_version_restores_the_labels(self, trained: Trained) -> None:
        stored = trained.run.version.manifest.head
        assert stored is not None, "the manifest has no head"
        _, restored = trained.bench.build(trained.run.version)
        fitted = trained.run.adapter.head
        assert fitted is not None
        assert (restored.labels is None) == (fitted.labels is None)
        assert list(restored.labels or ()) == list(fitted.labels or ()), (
            "set_labels must restore the order of fit_labels"
        )
        logits = trained.run.adapter.logits(self.rows)
        assert list(restored.predictions(logits)) == list(fitted.predictions(logits))

    def test_the_answer_form_says_what_predictions_say(self, trained: Trained) -> None:
        head, outputs = trained.run.adapter.head, trained.run.adapter.logits(self.rows)
        form = head.answer_form() if head is not None else None
        if head is None or form is None:
            pytest.skip("the head does not say how its outputs become an answer")
        for row, answer in zip(outputs.double(), head.predictions(outputs), strict=True):
            _same_answer(form, row, answer)


def _same_answer(form: AnswerForm, row: Tensor, answer: Any) -> None:
    """Check that a row of outputs (outputs,) becomes the same answer by its form as by the head."""
    import torch

    if form.kind == "linear":
        assert answer.value == pytest.approx(form.centre + form.scale * float(row[0]), rel=1e-5, abs=1e-6)
        return
    if form.kind == "vector":
        assert list(answer.values) == pytest.approx(row.tolist(), rel=1e-5, abs=1e-6)
        return
    scores = row.softmax(0) if form.kind == "softmax" else row.sigmoid()
    assert list(answer.scores) == list(form.labels), "the labels of answer_form are those of the scores, in their order"
    assert list(answer.scores.values()) == pytest.approx(scores.tolist(), rel=1e-5, abs=1e-6)
    if form.kind == "softmax":
        assert answer.label == form.labels[int(row.argmax())]
    else:
        limits = torch.tensor(form.thresholds, dtype=row.dtype).logit()
        assert list(answer.labels) == [form.labels[index] for index in (row >= limits).nonzero().flatten().tolist()]


def _batch(loaded: LoadedRun) -> dict[str, Any]:
    return dict(loaded.head.collator(loaded.tokenizer)(list(loaded.examples["train"])))
