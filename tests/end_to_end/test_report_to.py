"""A run reports to the real local stores of TensorBoard and MLflow, which then name the version that it became."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing.bench import Bench
from adapterhub_fin.testing.killed import train_and_be_killed

KEY = "adapterhub_fin.version"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client, on a store of files."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def _scalars(folder: Path) -> dict[str, Any]:
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    texts = {tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    return {**found, **texts}


def test_tensorboard_keeps_the_curves_and_the_version(bench: Bench) -> None:
    run = bench.train("run", report_to="tensorboard")
    [folder] = (bench.registry.root / "tensorboard").iterdir()
    assert folder.name.startswith("contract--run-") and not list((bench.registry.root / "runs").iterdir())
    found = _scalars(folder)
    history = run.history["training"]
    assert dict(found["train/loss"]) == pytest.approx(dict(zip(history["step"], history["loss"], strict=True)))
    assert [step for step, _ in found["eval/macro_f1"]] == run.history["validation"]["step"]
    assert found[f"{KEY}/text_summary"] == run.reference
    assert found["test/accuracy"][0][1] == pytest.approx(run.metrics["accuracy"])


def test_tensorboard_writes_where_its_variable_says(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(bench.folder / "logs"))
    recipe = bench.recipe("run", report_to=["tensorboard"], checkpoint_steps=2)
    train_and_be_killed(recipe, bench.registry.root, 8)
    run = ahf.train(recipe, registry=bench.registry, resume=True)
    [folder] = (bench.folder / "logs").iterdir()  # one run, though two processes wrote it
    assert {step for step, _ in _scalars(folder)["train/loss"]} == set(run.history["training"]["step"])


def test_mlflow_keeps_the_curves_and_the_version(bench: Bench, store: Any) -> None:
    run = bench.train("run", report_to=["mlflow"])
    [found] = store.search_runs(["0"])
    assert found.info.run_name == "contract/run" and found.info.status == "FINISHED"
    assert found.data.tags[KEY] == run.reference
    assert found.data.metrics["test_accuracy"] == run.metrics["accuracy"]
    losses = [(metric.step, metric.value) for metric in store.get_metric_history(found.info.run_id, "loss")]
    history = run.history["training"]
    assert dict(losses) == pytest.approx(dict(zip(history["step"], history["loss"], strict=True)))


def test_a_run_that_fails_is_marked_as_failed(bench: Bench, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterhub_fin.engine.training.trainer import AdapterTrainer

    def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(AdapterTrainer, "training_step", fail)
    with pytest.raises(ahf.TrainingFailed, match="the loss is nan"):
        bench.train("run", report_to=["mlflow"])
    found = max(store.search_runs(["0"]), key=lambda each: each.info.start_time)  # MLflow may keep its first store
    assert found.info.status == "FAILED" and KEY not in found.data.tags


def test_report_to_is_no_input_of_a_window_and_the_old_name_is_told(bench: Bench) -> None:
    with pytest.raises(ahf.BadRecipe, match="training.trackers is now called training.report_to"):
        ahf.Recipe.read(bench.recipe("run", trackers=["tensorboard"]))
    assert ahf.Recipe.read(bench.recipe("run", trackers=[])).training.report_to == ()  # in recipes of older versions
    with pytest.raises(ahf.BadRecipe, match="report_to names nobody, which is unknown or not installed"):
        bench.train("run", report_to="nobody")


@pytest.mark.parametrize("broken", ["tensorboard", "mlflow"])
def test_a_tracker_that_fails_at_the_end_does_not_hide_the_version(
    broken: str, bench: Bench, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin.engine.training import train

    stored = train._store

    def newest() -> Any:
        return max(store.search_runs(["0"]), key=lambda each: each.info.start_time)  # MLflow may keep its first store

    def stored_and_gone(*given: Any) -> str:
        reference = stored(*given)
        if broken == "mlflow":  # its run is lost between the two
            shutil.rmtree(Path(url2pathname(urlparse(newest().info.artifact_uri).path)).parent)
            return reference
        [folder] = (bench.registry.root / "tensorboard").iterdir()
        shutil.rmtree(folder)
        folder.write_text("no folder")
        return reference

    monkeypatch.setattr(train, "_store", stored_and_gone)
    with pytest.raises(ahf.TrainingFailed, match=f"contract/run@1 is stored, but {broken} could not record it"):
        bench.train("run", report_to=["mlflow", "tensorboard"])
    version = bench.registry.resolve("contract/run@1")
    assert bench.registry.history(version) is not None
    assert not list((bench.registry.root / "runs").iterdir()), "there is nothing to resume"
    assert ahf.load(version, registry=bench.registry, base=bench.base()).predict(["Sales rose."])
    if broken == "mlflow":  # the other tracker has it
        [folder] = (bench.registry.root / "tensorboard").iterdir()
        assert _scalars(folder)[f"{KEY}/text_summary"] == version.reference
    else:
        assert newest().data.tags[KEY] == version.reference
