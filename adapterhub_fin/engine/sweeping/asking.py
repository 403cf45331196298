"""Search with Optuna: it proposes each combination from the scores so far, and prunes trials below the median.

Its study is in the sweep's folder, and only this process writes it. A trial is finished in the study once the results
of its runs are in their folders, so that a sweep which is killed between the two tells the study when it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from adapterhub_fin.engine.sweeping.combinations import Combination, Job, jobs_of, size
from adapterhub_fin.engine.sweeping.folder import COMPLETE, FAILED, Result
from adapterhub_fin.engine.sweeping.options import Range, Swept
from adapterhub_fin.engine.sweeping.workers import EpochScore
from adapterhub_fin.errors import BadConfiguration

if TYPE_CHECKING:
    import optuna

REPEATS: Final = "repeats"  # the attribute of a trial whose combination was tried before
EVALUATIONS: Final = 10_000  # of one run, at most: the steps of a trial's next run begin after them
PATIENCE: Final = 100  # proposals in a row that were tried before, after which no new one is expected


@dataclass
class _Trial:
    trial: optuna.Trial
    jobs: list[Job]
    is_running: bool = False
    scores: list[float] = field(default_factory=list)


def check_optuna() -> None:
    """Raise BadConfiguration where Optuna isn't installed."""
    if find_spec("optuna") is None:
        raise BadConfiguration("a search by optuna needs Optuna: pip install 'adapterhub-fin[evidence]'")


class Asked:
    """Run trials that Optuna's TPE proposes, `trials` of them with distinct combinations.

    The proposal of a trial depends on the seed, its number and the trials before it, and not on how often the sweep was
    stopped.
    """

    def __init__(
        self,
        swept: Sequence[Swept],
        seeds: Sequence[int],
        folds: int | None,
        *,
        trials: int,
        seed: int,
        storage: Path,
        greater_is_better: bool,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._swept, self._seeds, self._folds = swept, seeds, folds
        self._most = trials if (limit := size(swept)) is None else min(trials, limit)
        self._seed = seed
        self._study = optuna.create_study(
            storage=f"sqlite:///{storage}",
            study_name="sweep",
            direction="maximize" if greater_is_better else "minimize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        self._active: dict[Combination, _Trial] = {}
        self._numbers: dict[Combination, int] = {}  # of the study's trials
        for stored in self._study.get_trials(deepcopy=False):
            if REPEATS in stored.user_attrs:
                continue
            trial = optuna.Trial(self._study, stored._trial_id)
            if stored.state != optuna.trial.TrialState.RUNNING:
                self._numbers[self._combination(trial)] = stored.number
            else:
                self._take(trial)

    @property
    def combinations(self) -> list[Combination]:
        return sorted(self._numbers, key=self._numbers.__getitem__)

    def next(self) -> Job | None:
        waiting = (trial for trial in self._active.values() if not trial.is_running)
        if (trial := next(waiting, None)) is None:
            trial = self._ask()
        if trial is None:
            return None
        trial.is_running = True
        return trial.jobs[len(trial.scores)]

    def measured(self, job: Job, evaluation: EpochScore) -> bool:
        active = self._active[job.combination]
        step = len(active.scores) * EVALUATIONS + evaluation.number
        if step in self._study.trials[active.trial.number].intermediate_values:
            return False  # of before the sweep was stopped
        active.trial.report(math.nan if evaluation.score is None else evaluation.score, step)
        return active.trial.should_prune()

    def ended(self, job: Job, result: Result) -> None:
        from optuna.trial import TrialState

        active = self._active[job.combination]
        active.is_running = False
        if result["state"] == COMPLETE:
            active.scores.append(result["score"])
            if len(active.scores) < len(active.jobs):
                return
            self._study.tell(active.trial, fmean(active.scores))
        else:
            self._study.tell(active.trial, state=TrialState.FAIL if result["state"] == FAILED else TrialState.PRUNED)
        del self._active[job.combination]

    def _ask(self) -> _Trial | None:
        """Return a trial of a combination that is new; None where there are to be no more."""
        import optuna

        for _ in range(PATIENCE):
            if len(self._numbers) >= self._most:
                return None
            number = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = optuna.samplers.TPESampler(seed=(self._seed * 1_000_003 + number) % 2**32)
            if (trial := self._take(self._study.ask())) is not None:
                return trial
        return None

    def _take(self, trial: optuna.Trial) -> _Trial | None:
        """Return a trial that is to run; None, and mark it, where its combination was tried before."""
        from optuna.trial import TrialState

        combination = self._combination(trial)
        if combination in self._numbers:
            trial.set_user_attr(REPEATS, self._numbers[combination])
            same = self._study.trials[self._numbers[combination]]
            if same.state == TrialState.COMPLETE:
                self._study.tell(trial, same.value)
            else:
                self._study.tell(trial, state=TrialState.FAIL)
            return None
        self._numbers[combination] = trial.number
        self._active[combination] = _Trial(trial, list(jobs_of(combination, self._seeds, self._folds)))
        return self._active[combination]

    def _combination(self, trial: optuna.Trial) -> Combination:
        """Return a trial's combination; of one that was stopped half way, the rest is proposed now."""
        return tuple((option.key, _suggest(trial, option)) for option in self._swept)


def _suggest(trial: optuna.Trial, option: Swept) -> str:
    if not isinstance(option, Range):
        return str(trial.suggest_categorical(option.key, option.texts))
    if option.whole:
        return str(trial.suggest_int(option.key, round(option.low), round(option.high), log=option.log))
    return option.text(trial.suggest_float(option.key, option.low, option.high, log=option.log))
