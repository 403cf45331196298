"""Train a run to its end and return its validation score; no row of the test part goes through the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.base.locks import building, drawing
from adapterhub_fin.engine.data.corpus import SEEN
from adapterhub_fin.engine.training.fitting import attach_adapter, bind_inputs, build_trainer, train_to_end
from adapterhub_fin.engine.training.prepare import load_run
from adapterhub_fin.engine.training.run_folder import open_run
from adapterhub_fin.plugin.trusted_code import trusting_remote_code

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.epochs import OnMeasured
    from adapterhub_fin.engine.training.prepare import PreparedRun


@dataclass(frozen=True)
class Validated:
    """Hold what a run has on the validation part, with the checkpoint that was picked there."""

    score: float
    steps: int
    base: str  # the key of its fingerprint


def validate(prepared: PreparedRun, runs: Path, tensorboard: Path, on_measured: OnMeasured) -> Validated:
    """Train a prepared run to the end, on from its last checkpoint if there is one, and return its validation score.

    Its folder stays in `runs`, so that `run` can measure and store it without training it again. The test part is taken
    out before the base is loaded. Raises what a training run raises.
    """
    prepared = replace(prepared, examples={split: prepared.examples[split] for split in SEEN})
    run_folder = open_run(runs, prepared.recipe, resume=None, restart=False)
    try:
        with drawing(), trusting_remote_code(bool(prepared.recipe.base.trust_remote_code)):
            loaded = load_run(prepared, run_folder.adapter_name)
            bind_inputs(loaded, run_folder)
            from transformers import set_seed

            from adapterhub_fin.engine.sweeping.epochs import Epochs

            set_seed(prepared.recipe.training.seed)
            with building():
                loaded, model = attach_adapter(loaded)
            epochs = Epochs(prepared.metric.name, on_measured)
            trainer: Any = build_trainer(loaded, model, run_folder.path, "run", [epochs])
            if trackers := prepared.recipe.training.report_to:
                from adapterhub_fin.engine.training.report_to import ReportedRun

                ReportedRun(trackers, tensorboard).follow(trainer)
            train_to_end(trainer, run_folder)
            return Validated(trainer.selected_metric, trainer.state.global_step, fingerprint_key(loaded.base))
    finally:
        run_folder.release()
