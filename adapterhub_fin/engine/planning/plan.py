"""Estimate what a run would take before anything is loaded: parameters, memory and time, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

from adapterhub_fin.engine.planning.alternatives import alternatives
from adapterhub_fin.engine.planning.machine import (
    CONTEXT,
    Device,
    duration,
    duration_text,
    find_device,
    known_speed,
    measure_speed,
    resident,
    size_text,
)
from adapterhub_fin.engine.training.prepare import PreparedRun, prepare
from adapterhub_fin.engine.training.series import largest_window
from adapterhub_fin.engine.training.train import read_recipe

if TYPE_CHECKING:
    from adapterhub_fin.engine.planning.dry_run import DryRun, Phase
    from adapterhub_fin.engine.training.train import Source
    from adapterhub_fin.recipe.keys import RecipeKeys
    from adapterhub_fin.recipe.recipe import Recipe

# The first two were measured on other runs than those that benchmarks/plan.py checks; see benchmarks/RESULTS.md.
MACHINERY = 20 * 2**20  # bytes that training loads and compiles on a CPU after its rows are read
HOLES = 0.6  # share of the tensors on glibc's heap that it keeps but can't reuse
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # keys of configurations with fused experts
LARGE = 32 * 2**20  # bytes; glibc frees larger blocks at once (M_MMAP_THRESHOLD's maximum)


@dataclass(frozen=True)
class Change:
    """Represent one way to need less memory; `bytes` is the peak of the whole run with it."""

    setting: str  # as --set takes it
    bytes: int
    fits: bool
    advised: bool  # whether it is the first that fits


@dataclass(frozen=True)
class Plan:
    """Hold what a run would take; sizes in bytes, time in seconds.

    `memory` is the peak by kind and sums to `bytes`: process, weights, gradients, optimizer, activations (kept for the
    backward pass), working (temporary tensors) and allocator (freed but not reusable). `largest` holds gradients,
    optimizer and activations, each at its own maximum. `seconds` is None where this machine's speed was never measured.
    """

    recipe: Recipe
    device: str
    parameters: int
    trained_parameters: int
    steps: int
    rows: int  # in the largest batch that passes through the model
    length: int  # tokens of the longest row of that batch
    peak_phase: str  # `training` or `evaluation`
    memory: Mapping[str, int]
    largest: Mapping[str, int]
    available: int
    changes: Sequence[Change]
    seconds: float | None
    assumptions: Sequence[str]
    warnings: Sequence[str] = ()  # those of `preview`

    def __repr__(self) -> str:
        verdict = "fits" if self.fits else "does not fit"
        return f"Plan({self.recipe.name or 'a run'} on {self.device}: {size_text(self.bytes)}, {verdict})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        changes = [(f"with {c.setting}", f"{size_text(c.bytes)}{', fits' if c.fits else ''}") for c in self.changes]
        more = [*(("assumed", each) for each in self.assumptions), *(("warning", each) for each in self.warnings)]
        return html_table(f"Plan of {self.recipe.name or 'a run'}", [*self.facts(), *changes, *more])

    def facts(self) -> list[tuple[str, Any]]:
        """Return what the run would take, by name: a command prints it, and a notebook shows it."""
        available = f"{size_text(self.available)} available: {'fits' if self.fits else 'does not fit'}"
        return [
            ("device", self.device),
            ("parameters", f"{self.parameters:,}, of which {self.trained_parameters:,} are trained"),
            ("steps", f"{self.steps:,}"),
            ("largest batch", f"{self.rows} rows of {self.length} tokens"),
            *((f"  {kind}", size_text(count)) for kind, count in self.memory.items() if count),
            ("memory", f"{size_text(self.bytes)} in {self.peak_phase}; {available}"),
            (
                "time",
                f"about {duration_text(self.seconds)}"
                if self.seconds is not None
                else "unknown: --time (measure=True) measures it",
            ),
        ]

    @property
    def bytes(self) -> int:
        """Return the bytes in memory at the peak."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Tell whether the peak fits the available memory."""
        return self.bytes <= self.available


def plan(
    recipe: Source = None,
    *,
    overrides: Sequence[str] = (),
    download: bool = False,
    device: str | int | None = None,
    measure: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Plan:
    """Return what `train` would take on this device or another, estimated from the base's configuration.

    No weight is read. `device` is `cpu`, `cuda`, or a GPU by its memory in bytes or as `24GB`; `measure` takes a second
    to measure this machine's speed, and stores it. Of a schedule, the window with the most rows is planned. Raises what
    `preview` raises, and BadRecipe for a device that is not there or a quantization that the configuration alone does
    not describe.

    Example:
        >>> plan = ahf.plan("recipes/tone.yaml", device="24GB")
        >>> plan.fits, plan.peak_phase
        (True, 'training')
    """
    requested = read_recipe(recipe, overrides, keys)
    stated_device = None if device is None else find_device(device)  # refuse a typo before torch is imported
    prepared = prepare(
        requested if requested.schedule is None else largest_window(requested, download=download), download=download
    )
    target = stated_device or find_device(None)
    process = CONTEXT if target.kind != "cpu" else resident() + MACHINERY  # before the estimate itself takes memory
    speed = measure_speed(target) if measure else known_speed(target)
    from adapterhub_fin.engine.planning.dry_run import dry_run

    result = dry_run(prepared)
    peak_phase, memory = _peak(prepared, result, target, process)
    total = sum(memory.values())
    return Plan(
        recipe=prepared.recipe,
        device=target.name,
        parameters=result.parameters,
        trained_parameters=result.trained,
        steps=prepared.steps,
        rows=result.training.rows,
        length=result.training.length,
        peak_phase=peak_phase,
        memory=memory,
        largest={"gradients": result.gradients, "optimizer": result.optimizer, "activations": result.activations},
        available=target.available,
        changes=() if total <= target.available else tuple(_changes(prepared, target, process)),
        seconds=duration(result, prepared, speed) if speed else None,
        assumptions=tuple(_assumptions(prepared, target)),
        warnings=prepared.warnings,
    )


def _peak(prepared: PreparedRun, result: DryRun, target: Device, process: int) -> tuple[str, Mapping[str, int]]:
    """Return the phase with the highest peak, and its memory by kind."""
    holes = {"training": 0, "evaluation": 0}
    if target.glibc:
        holes = {"training": _holes(_without_recompute(prepared, result)), "evaluation": _holes(result.evaluation)}
    needs = {
        name: _needs(phase, process, holes[name])
        for name, phase in (("training", result.training), ("evaluation", result.evaluation))
    }
    return max(needs.items(), key=lambda item: sum(item[1].values()))


def _without_recompute(prepared: PreparedRun, result: DryRun) -> Phase:
    """Return the training phase without recomputation, whose tensors also pass through the heap and leave holes."""
    if not prepared.recipe.training.recompute:
        return result.training
    from adapterhub_fin.engine.planning.dry_run import dry_run

    training = prepared.recipe.training.model_copy(update={"recompute": False})
    return dry_run(replace(prepared, recipe=prepared.recipe.model_copy(update={"training": training}))).training


def _holes(phase: Phase) -> int:
    return int(HOLES * sum(size for kind, size in phase.blocks if kind != "weights" and size <= LARGE))


def _needs(phase: Phase, process: int, holes: int) -> Mapping[str, int]:
    kinds = ("weights", "gradients", "optimizer", "activations", "working")
    return {"process": process, **{kind: phase.of(kind) for kind in kinds}, "allocator": holes}


def _changes(prepared: PreparedRun, target: Device, process: int) -> Iterable[Change]:
    """Yield, for each way to need less, its mildest form that fits, or else its strongest."""
    from adapterhub_fin.engine.planning.dry_run import dry_run

    advised = False
    for group in alternatives(prepared):
        choice: tuple[str, int] | None = None
        for setting, variant in group:
            needs = _peak(variant, dry_run(variant), target, process)[1]
            choice = setting, sum(needs.values())
            if choice[1] <= target.available:
                break
        if choice is not None:
            fits = choice[1] <= target.available
            yield Change(*choice, fits=fits, advised=fits and not advised)
            advised |= fits


def _assumptions(prepared: PreparedRun, target: Device) -> Iterable[str]:
    from adapterhub_fin.engine.planning.fake_model import loaded_dtype

    training, splitter = prepared.recipe.training, prepared.recipe.corpus.splitter
    if splitter.cutoff is not None:
        yield f"the run is that of the window whose cut-off is {splitter.cutoff}"
    if loaded_dtype(prepared.config, prepared.source.folder) is None:
        yield "weights in float32: neither the base's configuration nor its file says their type"
    if target.kind == "cpu":
        yield "all weights are touched: of a large vocabulary, rows that no text uses stay on the disk"
    else:
        yield f"{CONTEXT // 2**20} MiB for CUDA itself, and attention that keeps no scores where dropout is off"
    if any(getattr(prepared.config, name, None) for name in EXPERTS):
        yield "time leaves out what fused experts compute"
    if training.compile:
        yield "as if training.compile were off"
    if training.neftune is not None:
        yield "as if training.neftune were off"
    yield "time is that of every epoch, though training may stop early; on a device that does nothing else"
