"""Test that a method leaves the base unchanged, keeps adapters apart, and predicts the same wherever it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from adapterhub_fin.errors import WrongBase, WrongTensors
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.testing.bench import TEXTS, AtTheBench, Bench, Kind
from adapterhub_fin.testing.fresh import fresh_logits

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.training.run import Run
    from adapterhub_fin_registry import Version

NO_LEARNING = 1e-12  # a learning rate that leaves every weight unchanged, up to rounding
Harm = Literal["missing", "extra", "reshaped"]


@dataclass(frozen=True)
class Trained:
    """Hold the runs of one recipe: two with one seed and one without learning, each trained when first used."""

    bench: Bench

    @cached_property
    def run(self) -> Run:
        """Train the first run."""
        return self.bench.train("first")

    @cached_property
    def again(self) -> Run:
        """Train the second run, with the same seed."""
        return self.bench.train("again")

    @cached_property
    def still(self) -> Run:
        """Train the run with a learning rate too small to change a weight."""
        return self.bench.train("still", learning_rate=NO_LEARNING)


class MethodContract(AtTheBench):
    """Test a method: inherit this, name the method, and set options if its defaults don't fit a base of two layers."""

    kind = Method
    base: ClassVar[Kind] = "encoder"
    head: ClassVar[Mapping[str, Any]] = {"name": "classify"}

    @pytest.fixture
    def trained(self, tmp_path_factory: pytest.TempPathFactory) -> Trained:
        """Return the method's runs, shared by the tests of the class."""
        # Stored on the class, so that its tests share three trainings: pytest's own scopes differ between releases.
        contract = type(self)
        if "_trained" not in vars(contract):
            contract._trained = self.trained_in(tmp_path_factory.mktemp("method"))  # type: ignore[attr-defined]
        return contract._trained  # type: ignore[attr-defined,no-any-return]

    def trained_in(self, folder: Path) -> Trained:
        """Return the method's runs, in a folder of their own."""
        return Trained(Bench(folder, self.base, {"name": self.name, **self.options_for(folder)}, self.head))

    @property
    def traits(self) -> tuple[str, ...]:
        """Return the traits that the method's description declares."""
        return self.description.traits  # type: ignore[attr-defined,no-any-return]

    def test_only_the_adapter_and_the_head_learn(self, trained: Trained) -> None:
        added, model, context = _attached(trained)
        trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        heads = tuple(f".{name}." for name in context.modules_to_save)
        unfrozen = [name for name in trainable - added if not any(head in f".{name}." for head in heads)]
        assert not unfrozen, f"the base must be frozen, but these of its parameters are trainable: {unfrozen[:3]}"
        assert trainable & added, "nothing that the method added is trainable"

    def test_every_added_parameter_has_the_adapter_name_in_its_name(self, trained: Trained) -> None:
        added, _, context = _attached(trained)
        assert added, "attach added no parameter"
        unnamed = sorted(name for name in added if context.adapter_name not in name.split("."))
        assert not unnamed, f"added parameters must be named as in layer.x.{context.adapter_name}, not {unnamed[:3]}"

    def test_training_changes_the_adapter(self, trained: Trained) -> None:
        heads = trained.run.adapter.manifest.head.modules_to_save if trained.run.adapter.manifest.head else ()
        moved, still = _current(trained.run), _current(trained.still)
        adapter = [name for name in moved if not any(f".{head}." in f".{name}." for head in heads)]
        assert adapter, "the method stores nothing but the head"
        changed = [name for name in adapter if _differ(moved[name], still.get(name))]
        assert changed, f"after {trained.run.steps} steps no stored tensor of the adapter has changed"

    def test_training_leaves_every_weight_of_the_base_bit_identical(self, trained: Trained) -> None:
        from torch import equal

        from adapterhub_fin.engine.base.fingerprint import base_parameters

        if "mutates_base" in self.traits:
            pytest.skip("the method declares that it changes the base")
        model, _, modules_to_save = trained.bench.model(trained.run.version)
        before = dict(base_parameters(model, modules_to_save))
        after = dict(base_parameters(trained.run.adapter.model, modules_to_save))
        assert after.keys() == before.keys(), f"names of the base changed: {sorted(after.keys() ^ before.keys())[:3]}"
        changed = [name for name in before if not equal(before[name].cpu(), after[name].cpu())]
        assert not changed, f"{len(changed)} weights of the base were changed, first {changed[0]}"

    def test_stored_tensors_are_those_that_the_method_names(self, trained: Trained) -> None:
        from torch import equal

        stored, current = _stored(trained.run.version), _current(trained.run)
        assert stored.keys() == current.keys()
        differing = [name for name in current if not equal(stored[name], current[name])]
        assert not differing, f"the stored tensors differ from those of `tensors`: {differing[:3]}"

    def test_no_runtime_name_is_stored(self, trained: Trained) -> None:
        from adapterhub_fin.plugin.model_parts import ADAPTER_NAME

        for path in trained.run.version.files.rglob("*"):
            assert not ADAPTER_NAME.search(path.name), f"the runtime adapter name is in the file name {path.name}"
            if path.is_file():
                assert not ADAPTER_NAME.search(path.read_bytes().decode("latin-1")), (
                    f"the runtime adapter name is in {path.name}"
                )

    def test_a_fresh_process_answers_bit_for_bit_the_same(self, trained: Trained) -> None:
        run = trained.run
        there = fresh_logits(trained.bench.registry.root, run.reference, trained.bench.base(), TEXTS)
        here = run.adapter.logits(TEXTS)
        assert there.equal(here), f"logits differ by {float((there - here).abs().max()):.3g} in a fresh process"

    def test_one_seed_gives_one_adapter(self, trained: Trained) -> None:
        first, again = (run.version.manifest for run in (trained.run, trained.again))
        assert first.tensors == again.tensors
        differing = [a.path for a, b in zip(first.files, again.files, strict=True) if a.sha256 != b.sha256]
        assert not differing, f"the same recipe and seed gave other bytes in {', '.join(differing)}"

    def test_what_its_factors_add_to_the_base_is_all_that_it_does(self, trained: Trained) -> None:
        from adapterhub_fin.engine.merging.changes import changes_of

        if "additive_low_rank" not in self.traits:
            pytest.skip("the method does not declare that it adds low-rank matrices, which merging needs")
        version, adapter = trained.run.version, trained.run.adapter
        if version.manifest.base.quantization is not None:
            pytest.skip("adding to four-bit weights rounds them again")
        model, tokenizer, _ = trained.bench.model(version)
        changes, plain = changes_of(version), _logits(model, tokenizer, adapter.max_length)
        weights = dict(model.named_parameters())
        for name, parameter in changes.parameters.items():
            weights[name].data += changes.change(name).dense().reshape(parameter.shape)
        for name in changes.full_shapes:
            weights[name].data.copy_(changes.values(name))
        merged, expected = _logits(model, tokenizer, adapter.max_length), adapter.logits(TEXTS).cpu()
        error, effect = float((merged - expected).norm()), float((expected - plain).norm())
        assert error <= 1e-3 * effect, (
            f"with its factors added to the base, logits differ by {error / effect:.2g} of its effect"
        )

    def test_two_versions_share_a_bare_base(self, trained: Trained) -> None:
        self._share(trained, bare=True)

    def test_two_versions_share_a_model_with_a_head(self, trained: Trained) -> None:
        self._share(trained, bare=False)

    def _share(self, trained: Trained, *, bare: bool) -> None:
        from adapterhub_fin.engine.inference.load import load

        if {"mutates_base", "shared_state"} & set(self.traits):
            pytest.skip("the method declares that its versions can't share a base")
        bench, first, second = trained.bench, trained.run.reference, trained.still.reference
        alone = {reference: bench.alone(reference) for reference in (first, second)}
        assert not alone[first].equal(alone[second]), (
            "the two versions have equal logits, so they can't be distinguished"
        )
        model, _, _ = bench.model(trained.run.version, bare=bare)
        one = load(first, base=model, registry=bench.registry)
        two = load(second, base=model if bare else one.model, registry=bench.registry)
        for adapter in (one, two, one):  # the adapter that was loaded first must be active again
            answers = adapter.logits(TEXTS)
            assert answers.equal(alone[adapter.reference]), (
                f"{adapter.reference} gives other logits when another adapter is attached"
            )

    @pytest.mark.parametrize("harm", ["missing", "extra", "reshaped"])
    def test_a_file_that_does_not_fit_is_refused_and_the_model_unchanged(
        self, trained: Trained, harm: Harm, tmp_path: Path
    ) -> None:
        from adapterhub_fin.engine.inference.load import attach

        bench, version = trained.bench, trained.run.version
        broken = _harmed(bench, version, harm, tmp_path)
        model, tokenizer, _ = bench.model(version)
        before = _snapshot(model)
        with pytest.raises(WrongTensors):
            attach(model, broken, tokenizer=tokenizer, registry=bench.registry)
        assert _snapshot(model) == before, "the refused attachment changed the model"

    def test_a_base_with_other_weights_is_refused(self, trained: Trained) -> None:
        from adapterhub_fin.engine.inference.load import load

        with pytest.raises(WrongBase):
            load(trained.run.reference, base=trained.bench.base(seed=1), registry=trained.bench.registry)


def _attached(trained: Trained) -> tuple[set[str], nn.Module, AttachContext]:
    """Attach a new adapter to a fresh model; return the names of the added parameters, the model and the context."""
    from adapterhub_fin.engine.base.adapter_names import new_adapter_name

    model, _, modules_to_save = trained.bench.model(trained.run.version)
    method, head = trained.bench.build(trained.run.version)
    before = list(model.parameters())
    context = AttachContext(adapter_name=new_adapter_name(), modules_to_save=modules_to_save, task=head.task)
    adapted = method.attach(model, context)
    original = {id(parameter) for parameter in before}
    added = {name for name, parameter in adapted.named_parameters() if id(parameter) not in original}
    return added, adapted, context


def _differ(one: Tensor, other: Tensor | None) -> bool:
    """Return whether two tensors differ by more than rounding, or by shape, which a method may learn too."""
    if other is None or one.shape != other.shape:
        return True
    return one.numel() > 0 and float((one.float() - other.float()).abs().max()) > 1e-6


def _current(run: Run) -> dict[str, Tensor]:
    adapter = run.adapter
    return {
        name: tensor.detach().cpu()
        for name, tensor in adapter.method.tensors(adapter.model, adapter.adapter_name).items()
    }


def _logits(model: nn.Module, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tensor:
    """Return the logits (texts, outputs) of a model without an adapter of this project."""
    from torch import inference_mode

    batch = tokenizer(list(TEXTS), return_tensors="pt", padding=True, truncation=True, max_length=max_length)
    with inference_mode():
        logits: Tensor = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits


def _stored(version: Version) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    from adapterhub_fin.plugin.adapter_files import WEIGHTS

    return dict(load_file(version.files / WEIGHTS))


def _harmed(bench: Bench, version: Version, harm: Harm, folder: Path) -> str:
    """Store a copy of a version with a missing tensor, an extra one, or one of another shape; return its reference."""
    import shutil

    from safetensors.torch import save_file

    from adapterhub_fin.plugin.adapter_files import WEIGHTS

    copied = Path(shutil.copytree(version.files, folder / "harmed"))
    tensors = _stored(version)
    first = min(tensors)
    if harm == "missing":
        del tensors[first]
    elif harm == "extra":
        tensors["nowhere.weight"] = tensors[first].clone()
    else:
        tensors[first] = tensors[first].unsqueeze(0).contiguous()
    save_file(tensors, copied / WEIGHTS, metadata={"format": "pt"})
    manifest = version.manifest.model_copy(update={"files": (), "tensors": ()})
    return bench.registry.add(copied, manifest, name=f"contract/{harm}").reference


def _snapshot(model: nn.Module) -> list[Any]:
    """Return everything that attaching an adapter could change on a model, in a form that can be compared."""
    parameters = [(n, id(p), p.requires_grad, p.detach().flatten().tolist()) for n, p in model.named_parameters()]
    modules = [(n, type(m), len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in model.named_modules()]
    return [parameters, modules, model.training, type(model), sorted(vars(model))]
