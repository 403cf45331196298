"""What a head must keep: it fits every base it says it fits, and its weights travel in the version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.heads import MergeableHead
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.testing.bench import TEXTS, AtTheBench, Bench, Kind
from adapterhub_fin.testing.fresh import fresh_logits

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import LoadedRun, prepare
    from adapterhub_fin.engine.training.train import Run


@dataclass(frozen=True)
class Trained:
    """A head on one kind of base, trained for a few steps."""

    bench: Bench
    run: Run


class HeadContract(AtTheBench):
    """Inherit it and name the head; `bases` says which kinds it fits, `corpus` what it learns from."""

    kind = Head
    bases: ClassVar[tuple[Kind, ...]] = ("encoder", "decoder")
    method: ClassVar[Mapping[str, Any]] = {"name": "lora", "rank": 4, "alpha": 8}
    corpus: ClassVar[Mapping[str, Any] | None] = None  # as in a recipe; by default the tiny corpus of this package

    @pytest.fixture(params=["encoder", "decoder"])
    def trained(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
        if request.param not in self.bases:
            pytest.skip(f"{self.name} is not for a {request.param}")
        contract = type(self)  # kept there, so that its tests share one training a base
        kept: dict[str, Trained] = vars(contract).get("_trained") or {}
        if request.param not in kept:
            folder = tmp_path_factory.mktemp(request.param)
            head = {"name": self.name, **self.options_for(folder)}
            bench = Bench(folder, request.param, self.method, head, self.corpus)
            kept[request.param] = Trained(bench, bench.train("head"))
            contract._trained = kept  # type: ignore[attr-defined]
        return kept[request.param]

    def test_loss_is_finite_and_falls(self, trained: Trained) -> None:
        from torch.optim import AdamW

        from adapterhub_fin.engine.base.adapter_names import new_adapter_name
        from adapterhub_fin.engine.training.prepare import load_run

        loaded = load_run(prepare(Recipe.read(trained.bench.recipe("loss"))), new_adapter_name())
        batch = _batch(loaded)
        labels = batch.pop("labels")
        optimizer = AdamW(loaded.model.parameters(), lr=1e-3)
        loaded.model.eval()  # without dropout, so that one batch can be compared with itself
        losses = []
        for _ in range(8):
            loss = loaded.head.loss(loaded.model(**batch), labels)
            assert loss.dim() == 0, f"the loss of a batch must be one number, not of shape {tuple(loss.shape)}"
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert all(math.isfinite(loss) for loss in losses), losses
        assert losses[-1] < losses[0], f"the loss did not fall on its own training rows: {losses}"

    def test_the_weights_of_the_head_travel(self, trained: Trained) -> None:
        there = fresh_logits(trained.bench.registry.root, trained.run.reference, trained.bench.base(), TEXTS)
        here = trained.run.adapter.logits(TEXTS)
        assert float((there - here).abs().max()) == 0, "another process, with another seed, answers otherwise"

    def test_one_typed_answer_a_text(self, trained: Trained) -> None:
        answers = trained.run.adapter.predict(TEXTS)
        assert len(answers) == len(TEXTS)
        kinds = {type(answer) for answer in answers}
        assert len(kinds) == 1 and not kinds & {dict, tuple, list}, f"answers must be of one named type, not {kinds}"

    def test_answers_come_in_the_order_of_the_texts(self, trained: Trained) -> None:
        adapter = trained.run.adapter
        there, back = adapter.logits(TEXTS), adapter.logits(TEXTS[::-1])
        assert float((there - back.flip(0)).abs().max()) <= 1e-5
        assert list(adapter.predict(TEXTS)) == list(trained.run.adapter.head.predictions(there))  # type: ignore[union-attr]

    def test_a_batch_and_single_rows_agree(self, trained: Trained) -> None:
        adapter = trained.run.adapter
        together = adapter.logits(TEXTS)
        for place, text in enumerate(TEXTS):
            apart = float((adapter.logits([text])[0] - together[place]).abs().max())
            assert apart <= 1e-5, f"{text!r} answers {apart:.3g} otherwise alone than padded in a batch"

    def test_the_outputs_that_it_names_are_rows_of_what_it_stores(self, trained: Trained) -> None:
        head, version = trained.run.adapter.head, trained.run.version
        assert head is not None and version.manifest.head is not None
        if not isinstance(head, MergeableHead):
            pytest.skip("the head says nothing of its outputs")
        named, whole = head.outputs(), version.manifest.head.modules_to_save
        if not named or not whole:
            pytest.skip("the head names no layer that gives its outputs, or brings none")
        bare = {name.removeprefix("base_model.model."): shape for name, _, shape in version.manifest.tensors}
        shapes = {name: tuple(shape) for name, shape in bare.items() if name in named}
        outputs = trained.run.adapter.logits(TEXTS).shape[1]
        assert shapes, f"of {', '.join(sorted(named))} the version stores none: heads of other orders can't be averaged"
        assert all(shape[0] == outputs for shape in shapes.values()), f"{shapes} have not {outputs} rows"

    def test_a_stored_version_restores_what_was_learnt(self, trained: Trained) -> None:
        stored = trained.run.version.manifest.head
        assert stored is not None, "the manifest holds no head"
        _, restored = trained.bench.build(trained.run.version)
        learnt = trained.run.adapter.head
        assert learnt is not None
        assert (restored.labels is None) == (learnt.labels is None)
        assert list(restored.labels or ()) == list(learnt.labels or ()), "restore must give back the order of learn"
        logits = trained.run.adapter.logits(TEXTS)
        assert list(restored.predictions(logits)) == list(learnt.predictions(logits))


def _batch(loaded: LoadedRun) -> dict[str, Any]:
    return dict(loaded.head.collator(loaded.tokenizer)(list(loaded.examples["train"])))
