"""Report a run to experiment trackers under the version's name, and record the stored version's reference there.

Transformers' own callbacks write the curves. What they lack is added here: TensorBoard's files outlive the run's
folder, and MLflow, W&B and TensorBoard learn which version the run became and its metrics on the test split.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from adapterhub_fin.errors import TrainingFailed

KEY = "adapterhub_fin.version"  # under which a tracker holds the version's reference


class ReportedRun(TrainerCallback):
    """Represent one run in the trackers that a recipe names; trackers other than these three only get the curves.

    `folder` is where TensorBoard's files go, unless TENSORBOARD_LOGGING_DIR names another parent.
    """

    def __init__(self, trackers: tuple[str, ...], folder: Path) -> None:
        self.trackers = trackers
        parent = os.environ.get("TENSORBOARD_LOGGING_DIR")
        self.folder = Path(parent).expanduser() / folder.name if parent else folder
        self.mlflow_run: str | None = None
        self.own_wandb_run = False

    def follow(self, trainer: Trainer) -> None:
        """Add this run to a trainer that was just built, before it trains."""
        for callback in trainer.callback_handler.callbacks:
            if type(callback).__name__ == "TensorBoardCallback":
                callback.logging_dir = str(self.folder)
        if "wandb" in self.trackers:
            self.own_wandb_run = _module("wandb").run is None
        trainer.add_callback(self)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember MLflow's run, which its own callback has started and ends with the training."""
        if "mlflow" in self.trackers and (active := _module("mlflow").active_run()) is not None:
            self.mlflow_run = active.info.run_id

    def record(self, reference: str, metrics: Mapping[str, float]) -> None:
        """Record the version and its metrics on the test split, in each tracker.

        Raises TrainingFailed for the first that refuses them, after the others.
        """
        failed: dict[str, Exception] = {}
        for tracker, record in (("tensorboard", self._tensorboard), ("mlflow", self._mlflow), ("wandb", self._wandb)):
            if tracker in self.trackers:
                try:
                    record(reference, metrics)
                except Exception as error:  # a tracker may raise anything; the version is stored all the same
                    failed[tracker] = error
        for tracker, cause in failed.items():
            raise TrainingFailed(
                f"{reference} is stored, but {tracker} could not record it: {cause}; load it by its reference, and "
                "mend the tracker's settings before the next run"
            ) from cause

    def fail(self) -> None:
        """Mark the run as failed, where the trackers have such a mark."""
        if self.mlflow_run is not None:
            active = _module("mlflow").active_run()
            if active is not None and active.info.run_id == self.mlflow_run:
                _module("mlflow").end_run("FAILED")
        if "wandb" in self.trackers and self.own_wandb_run and _module("wandb").run is not None:
            _module("wandb").finish(exit_code=1)

    def _tensorboard(self, reference: str, metrics: Mapping[str, float]) -> None:
        writer = _module("torch.utils.tensorboard").SummaryWriter(log_dir=str(self.folder))
        writer.add_text(KEY, reference)
        for name, value in metrics.items():
            writer.add_scalar(f"test/{name}", value)
        writer.close()

    def _mlflow(self, reference: str, metrics: Mapping[str, float]) -> None:
        if self.mlflow_run is None:
            return  # a resumed run that had ended its training: MLflow's run of it is closed and its id not known
        mlflow = _module("mlflow")
        mlflow.flush_async_logging()
        client = mlflow.MlflowClient()
        client.set_tag(self.mlflow_run, KEY, reference)
        for name, value in metrics.items():
            client.log_metric(self.mlflow_run, f"test_{name}", value)

    def _wandb(self, reference: str, metrics: Mapping[str, float]) -> None:
        wandb = _module("wandb")
        if wandb.run is None:
            return  # as for MLflow
        wandb.run.summary.update({KEY: reference, **{f"test/{name}": value for name, value in metrics.items()}})
        if self.own_wandb_run:
            wandb.finish()  # so that the next run of this process is one of its own


def _module(name: str) -> Any:
    return import_module(name)
