"""Ask a base about dated facts, and judge whether it knows of what came after its knowledge end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.base.find import BaseSource, find_base
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.contamination.interaction import interaction
from adapterhub_fin.engine.contamination.probes import SHIPPED, Probe, read_probes, split_by
from adapterhub_fin.engine.contamination.recall import Settings, measure_side
from adapterhub_fin.engine.contamination.result import Contamination
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.asserted_dates import asserted
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.choices import BaseChoice

if TYPE_CHECKING:
    import torch

GIVEN: Final = "given with the call"


def contamination(
    base: str | Path,
    probes: str | Path | None = None,
    *,
    end: str | date | datetime | None = None,
    timezone: str | None = None,
    alpha: float = Settings.alpha,
    power: float = Settings.power,
    independent: bool = False,
    seed: int = 0,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    report: str | Path | None = None,
    download: bool = False,
) -> Contamination:
    """Return whether a base knows of what came after its knowledge end, as far as dated cloze probes can tell.

    `base` is a folder, an id or a stored version, a causal or a masked language model. `probes` is a file of rows with
    `text`, `options`, `answer` and `available_at`; without one, decisions of the Federal Open Market Committee since
    2000 are asked for. `end` is the last instant that the base may know of, if that isn't recorded. `independent` says
    that the events don't depend on one another in time. `report` is a folder for a page with pictures.

    Raises BadCorpus for probes that can't be read, BadRecipe for a base without an end and for probes that can't be
    compared, Unsupported for a base without a language-model head, and BaseNotFound.

    Example:
        >>> result = ahf.contamination("bases/fin-2013", end="2013-12-31")
        >>> result.verdict
        'no sign'
    """
    settings = _settings(alpha, power, independent, seed, batch_size)
    if report is not None:
        from adapterhub_fin.reporting.report import check_installed

        check_installed()
    given = _given(end)
    file = read_probes(SHIPPED if probes is None else Path(probes).expanduser(), timezone)
    source = find_base(BaseChoice.read(base), download=download)
    knowledge = given or _recorded(source, str(base))
    sides = split_by(file.probes, knowledge.at)
    dated: Sequence[Probe] = [*sides["before"], *sides["after"]]
    from adapterhub_fin.engine.contamination.scoring import count_uneven, load_language_model, option_likelihoods

    language_model = load_language_model(source.folder, device)
    likelihoods = option_likelihoods(language_model, dated, batch_size=batch_size)
    measured = [measure_side(name, each, likelihoods, settings) for name, each in sides.items()]
    result = Contamination(
        base=source.reference or source.repository or str(base),
        kind=language_model.kind,
        end=knowledge.at,
        evidence=knowledge.evidence,
        probes=file.name,
        probes_digest=file.digest,
        left_out=len(file.probes) - len(dated),
        uneven=count_uneven(language_model, dated),
        before=measured[0],
        after=measured[1],
        interactions=[each for side in measured if (each := interaction(side, settings)) is not None],
        settings=settings,
        environment=environment(),
    )
    if report is None:
        return result
    from adapterhub_fin.engine.contamination.report import write_page

    return replace(result, page=write_page(result, Path(report)))


def _settings(alpha: float, power: float, independent: bool, seed: int, batch_size: int) -> Settings:
    if not 0 < alpha < 0.5:
        raise BadRecipe(f"alpha is {alpha}: give the rate of false alarms, above 0 and below 0.5")
    if not 0.5 <= power < 1:
        raise BadRecipe(f"power is {power}: give it from 0.5 to below 1")
    if batch_size < 1 or seed < 0:
        raise BadRecipe("give a batch_size from 1 and a seed from 0")
    return Settings(alpha, power, independent, seed)


def _given(end: Any) -> KnownAt | None:
    """Return the end that a call gives; None if it gives none. Raises BadRecipe for one that is no date."""
    if end is None:
        return None
    return asserted(end.isoformat() if isinstance(end, date) else str(end), GIVEN, "contamination")


def _recorded(source: BaseSource, base: str) -> KnownAt:
    """Return the end that is recorded of a base. Raises BadRecipe if none is."""
    if source.known is None:
        raise BadRecipe(
            f"the base {base} has no known end: give the last day that it may know of, with --end 2013-12-31 (end=)"
        )
    return source.known
