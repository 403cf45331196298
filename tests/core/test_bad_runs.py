"""What can't be trained is refused before it is, with both sides named; what breaks keeps what was good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.testing import tiny_corpus, tiny_encoder
from adapterhub_fin.testing.bench import Bench
from adapterhub_fin_plugins.heads.classify import Classify

LORA = {"name": "lora", "rank": 4}
CLASSIFY = {"name": "classify"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "encoder", LORA, CLASSIFY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has it")
def test_a_precision_that_the_device_lacks(bench: Bench) -> None:
    with pytest.raises(ahf.BadRecipe, match="precision is fp16 and this machine has no GPU"):
        bench.train("half", precision="fp16")


def test_noise_on_embeddings_that_a_prompt_stands_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", {"name": "prompt-tuning"}, CLASSIFY)
    with pytest.raises(ahf.BadRecipe, match="neftune adds noise to embeddings, where the method prompt-tuning"):
        bench.train("noise", neftune=5)


def test_a_rate_for_a_head_that_there_is_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", LORA, {"name": "causal-lm"})
    with pytest.raises(ahf.BadRecipe, match="head_learning_rate needs a head with weights, and causal-lm has none"):
        bench.train("rate", head_learning_rate=1e-3)


def test_a_tracker_that_is_not_installed(bench: Bench) -> None:
    with pytest.raises(ahf.BadRecipe, match="report_to names nobody, which is unknown or not installed"):
        bench.train("tracked", report_to=["nobody"])


def test_a_prompt_and_a_text_beyond_the_positions(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", {"name": "prefix-tuning", "tokens": 100}, CLASSIFY)
    with pytest.raises(
        ahf.BadRecipe, match="max_length is 48 and the method prefix-tuning takes 100, .* 128 positions"
    ):
        bench.train("long")


def test_a_base_that_is_quantized_already(bench: Bench) -> None:
    import json

    config = bench.base() / "config.json"
    quantized = {"quant_method": "gptq", "bits": 4}
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": quantized}))
    recipe = {**bench.recipe("twice"), "method": {"name": "qlora"}}
    with pytest.raises(ahf.BadRecipe, match="quantized already .gptq., and qlora quantizes it itself"):
        ahf.train(recipe, registry=bench.registry)


def test_labels_that_training_never_saw(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    parts = ["train"] * 8 + ["validation"] * 3 + ["test"] * 3
    labels = ["up", "down"] * 5 + ["up", "flat", "up", "down"]
    lines = [f"Firm {i},{label},{part}" for i, (label, part) in enumerate(zip(labels, parts, strict=True))]
    rows.write_text("text,label,part\n" + "\n".join(lines) + "\n")
    corpus = {"name": "table", "path": str(rows), "label": "label", "split": "part", "splitter": {"by": "given"}}
    bench = Bench(tmp_path, "encoder", LORA, CLASSIFY, corpus)
    with pytest.raises(ahf.BadCorpus, match="test part, row 0 .*the label 'flat' is not among the head's: down, up"):
        bench.train("unseen")


def test_weights_for_other_labels(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", LORA, {**CLASSIFY, "weights": {"positive": 2.0, "negative": 1.0}})
    with pytest.raises(ahf.BadRecipe, match="head.weights names negative, positive; the labels are negative, neutral"):
        bench.train("weights")


class Fragile(Classify):
    """Its loss is no number from the eighth batch that is trained on."""

    trained = 0

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        value = super().loss(outputs, labels)
        if not torch.is_grad_enabled():
            return value
        self.trained += 1
        return value * float("nan") if self.trained == 8 else value


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    ahf.register(
        Head(
            name="fragile",
            summary="Breaks.",
            target=f"{__name__}:Fragile",
            options="adapterhub_fin_plugins.heads.options:ClassifyOptions",
            task="SEQ_CLS",
            metrics="classification",
        )
    )
    bench = Bench(tmp_path, "encoder", LORA, {"name": "fragile"})
    with pytest.raises(ahf.TrainingFailed) as broke:
        bench.train("breaks", epochs=3)
    told = str(broke.value)
    assert "the loss is nan at step 8, in the batch of training examples" in told
    checkpoint = Path(told.partition("its last good checkpoint is ")[2])
    assert checkpoint.name == "checkpoint-5" and (checkpoint / "complete").is_file()
    assert bench.registry.names() == []
    taken = ahf.import_folder(checkpoint, "acme/rescued", base={"id": "acme/tiny"}, registry=bench.registry)
    assert taken.version.reference == "acme/rescued@1", "what was good can be stored"


def figures(tmp_path: Path, **targets: list[float]) -> Bench:
    """A bench whose parts have these targets."""
    rows = [(value, part) for part, values in targets.items() for value in values]
    lines = [f"Firm {i},{value!r},{part}" for i, (value, part) in enumerate(rows)]
    (tmp_path / "rows.csv").write_text("text,target,part\n" + "\n".join(lines) + "\n")
    options = {"path": str(tmp_path / "rows.csv"), "target": "target", "split": "part", "splitter": {"by": "given"}}
    return Bench(tmp_path, "encoder", LORA, {"name": "regress"}, {"name": "table", **options})


SPREAD = [0.1, 0.2, 0.4, 0.3, 0.9]


@pytest.mark.parametrize("flat", [-0.7, 0.1, 0.5])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_targets_that_are_all_alike_are_refused_before_a_weight_is_read(tmp_path: Path, part: str, flat: float) -> None:
    """G 36: in the preview as in the run."""
    bench = figures(tmp_path, **{"train": SPREAD, "validation": SPREAD, "test": SPREAD, part: [flat] * 10})
    (bench.base() / "model.safetensors").write_bytes(b"no weights")
    told = "all 0.1|all -0.7|all 0.5" if part == "train" else f"{part} part: r2 is undefined where all 10 targets are"
    for attempt in (lambda: ahf.preview(bench.recipe("flat")), lambda: bench.train("flat")):
        with pytest.raises(ahf.BadCorpus, match=told):
            attempt()


def test_a_validation_part_of_targets_that_are_alike_can_choose_by_the_distance(tmp_path: Path) -> None:
    """Its r2, which is undefined, is neither recorded nor chosen by."""
    bench = figures(tmp_path, train=SPREAD, validation=[0.7] * 10, test=SPREAD)
    run = bench.train("distance", epochs=1, metric="mae")
    assert set(run.metrics) == {"r2", "mse", "mae", "spearman"} and set(run.validation) == {"mae"}


def no_number(truth: Any, predicted: Any) -> float:
    """Of the validation part, which has 6 rows; of the test part, which has 9, it is one."""
    return float("nan") if len(truth) == 6 else 1.0


def test_a_metric_that_is_no_number_does_not_choose_a_checkpoint(bench: Bench) -> None:
    """G 36: NaN is no better than what there was, so that none was the best, and the last epoch was stored."""
    ahf.register(ahf.Metric(name="hollow", summary="Of a test.", target=f"{__name__}:no_number"))
    with pytest.raises(
        ahf.TrainingFailed, match="hollow of the validation part was NaN or infinite at every evaluation"
    ):
        bench.train("hollow", metric="hollow")


def no_number_of_test(truth: Any, predicted: Any) -> float:
    return float("nan") if len(truth) == 9 else 1.0


def test_a_metric_of_the_test_part_that_is_no_number_is_not_stored(bench: Bench) -> None:
    ahf.register(ahf.Metric(name="void", summary="Of a test.", target=f"{__name__}:no_number_of_test"))
    with pytest.raises(ahf.TrainingFailed, match="void of contract/void is NaN or infinite"):
        bench.train("void", epochs=1)
    assert bench.registry.names() == []


def test_dry_run_reads_no_weight(bench: Bench) -> None:
    (bench.base() / "model.safetensors").write_bytes(b"no weights")
    plan = ahf.preview(bench.recipe("dry", epochs=3))
    assert {part: len(rows) for part, rows in plan.corpora.splits.items()} == {"train": 33, "validation": 6, "test": 9}
    assert plan.steps == 15
    assert plan.trained_parameters == 3840 + 32 * 3 + 3  # the adapter, and the head
    assert plan.recipe.training.learning_rate == 1e-2 and plan.recipe.corpus.splitter.by == "grouped"


@pytest.mark.parametrize(
    ("method", "width", "rate"),
    [
        ("lora", None, 1e-3),
        ("lora", 32, 1e-3),
        ("lora", 384, 1e-3),
        ("lora", 768, 5e-4),
        ("adalora", 1152, 1e-3),
        ("prefix-tuning", 4096, 3e-2),
    ],
)
def test_the_method_says_how_fast_it_learns(method: str, width: int | None, rate: float) -> None:
    recipe = ahf.Recipe.read({"name": "a/b", "corpus": "headlines", "method": method}).check()
    assert recipe.resolved(width).training.learning_rate == pytest.approx(rate)
    given = recipe.model_copy(update={"training": recipe.training.model_copy(update={"learning_rate": 2e-5})})
    assert given.resolved(width).training.learning_rate == 2e-5


def test_a_wide_base_learns_slowly_and_the_version_says_so(tmp_path: Path) -> None:
    from transformers import BertConfig

    folder = tiny_encoder(tmp_path)
    BertConfig.from_pretrained(folder, hidden_size=768).save_pretrained(folder)
    corpus, training = {"name": tiny_corpus()}, {"max_length": 32}
    plan = ahf.preview(name="a/b", base={"path": str(folder)}, corpus=corpus, training=training)
    assert plan.recipe.training.learning_rate == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("splitter", "base", "said"),
    [
        ({"by": "time"}, {}, "has no known end"),
        ({"by": "time"}, {"knowledge_end": "2016-01-01", "evidence": "made then"}, None),
        ({"by": "time"}, {"knowledge_end": "2030-01-01", "evidence": "made then"}, "knows until 2030-01-02"),
        ({"by": "stratified"}, {}, None),
    ],
)
def test_a_split_by_time_warns_of_a_base_that_knows_the_test_part(
    splitter: dict[str, Any], base: dict[str, Any], said: str | None, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = bench.recipe("late")
    recipe["base"] = {"path": str(bench.base()), **base}
    recipe["corpus"] = {**recipe["corpus"], "splitter": splitter}
    plan = ahf.preview(recipe)
    late = [warning for warning in plan.warnings if "the test part begins at" in warning]
    if said is None:
        assert not late
    else:
        assert len(late) == 1 and said in late[0] and caplog.messages.count(late[0]) == 1
