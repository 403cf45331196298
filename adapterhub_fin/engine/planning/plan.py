"""Say what a run would take before anything is loaded: parameters, memory and time, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.planning.alternatives import alternatives
from adapterhub_fin.engine.planning.duration import duration
from adapterhub_fin.engine.planning.machine import CONTEXT, Device, find_device, known_speed, measure_speed, resident
from adapterhub_fin.engine.training.series import largest_window
from adapterhub_fin.engine.training.train import read_recipe

if TYPE_CHECKING:
    from adapterhub_fin.engine.planning.dry_run import DryRun, Phase
    from adapterhub_fin.engine.training.prepare import PreparedRun, prepare
    from adapterhub_fin.engine.training.train import Source
    from adapterhub_fin.recipe.recipe import Recipe

# Both were measured on runs other than those that benchmarks/plan.py judges by; benchmarks/RESULTS.md has them.
MACHINERY = 20 * 2**20  # bytes that training itself loads and compiles after its rows are read, on a CPU
HOLES = 0.6  # of the tensors on glibc's heap: what it keeps and can't give to the next tensor of the same size
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # by which configurations say that they have some
LARGE = 32 * 2**20  # glibc gives blocks beyond this back at once (M_MMAP_THRESHOLD's maximum)


@dataclass(frozen=True)
class Change:
    """One way to need less; bytes are those of the whole run with it."""

    setting: str  # as --set takes it
    bytes: int
    fits: bool
    advised: bool  # the first that fits


@dataclass(frozen=True)
class Plan:
    """What a run would take; sizes in bytes, time in seconds.

    `memory` is by kind at the fullest moment and sums to `bytes`: process, weights, gradients, optimizer, activations
    (kept for the backward pass), working (what comes and goes), allocator (freed and not usable). `held` has gradients,
    optimizer and activations at their own largest. `seconds` is None where this machine's speed was never measured.
    """

    recipe: Recipe
    device: str
    parameters: int
    trained_parameters: int
    steps: int
    rows: int  # that go through the model together
    length: int  # tokens of the longest row, among those
    fullest: str  # `training` or `evaluation`
    memory: Mapping[str, int]
    held: Mapping[str, int]
    available: int
    changes: Sequence[Change]
    seconds: float | None
    assumptions: Sequence[str]
    warnings: Sequence[str] = ()  # those of `preview`

    @property
    def bytes(self) -> int:
        """Memory at the fullest moment."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        return self.bytes <= self.available


def plan(
    recipe: Source = None,
    *,
    overrides: Sequence[str] = (),
    download: bool = False,
    device: str | int | None = None,
    measure: bool = False,
    **keys: Any,
) -> Plan:
    """What `train` would take of this device or another, estimated from the base's configuration: no weight is read.

    `device` is `cpu`, `cuda`, or a GPU by its memory in bytes or as `24GB`; `measure` takes a second to measure this
    machine's speed, which is remembered. Raises what `preview` raises, and BadRecipe for a device that is not there
    or a quantization that can't be told from the configuration. Of a schedule, it is the window with the most rows.
    """
    whole = read_recipe(recipe, overrides, keys)
    asked = None if device is None else find_device(device)  # a slip is told before torch is imported
    drafted = prepare(whole if whole.schedule is None else largest_window(whole), download=download)
    place = asked or find_device(None)
    process = CONTEXT if place.kind != "cpu" else resident() + MACHINERY  # before the estimate itself takes memory
    speed = measure_speed(place) if measure else known_speed(place)
    from adapterhub_fin.engine.planning.dry_run import rehearse

    told = rehearse(drafted)
    fullest, memory = _fullest(drafted, told, place, process)
    total = sum(memory.values())
    return Plan(
        recipe=drafted.recipe,
        device=place.name,
        parameters=told.parameters,
        trained_parameters=told.trained,
        steps=drafted.steps,
        rows=told.training.rows,
        length=told.training.length,
        fullest=fullest,
        memory=memory,
        held={"gradients": told.gradients, "optimizer": told.optimizer, "activations": told.activations},
        available=place.available,
        changes=() if total <= place.available else tuple(_changes(drafted, place, process)),
        seconds=duration(told, drafted, speed) if speed else None,
        assumptions=tuple(_assumptions(drafted, place)),
        warnings=drafted.warnings,
    )


def _fullest(drafted: PreparedRun, told: DryRun, place: Device, process: int) -> tuple[str, Mapping[str, int]]:
    """The phase that needs most, and what it needs by kind."""
    holes = {"training": 0, "evaluation": 0}
    if place.glibc:
        holes = {"training": _holes(_passing(drafted, told)), "evaluation": _holes(told.evaluation)}
    needs = {
        name: _needs(phase, process, holes[name])
        for name, phase in (("training", told.training), ("evaluation", told.evaluation))
    }
    return max(needs.items(), key=lambda item: sum(item[1].values()))


def _passing(drafted: PreparedRun, told: DryRun) -> Phase:
    """A step that recomputes nothing: what is computed again goes through the heap too, and leaves its holes."""
    if not drafted.recipe.training.recompute:
        return told.training
    from adapterhub_fin.engine.planning.dry_run import rehearse

    training = drafted.recipe.training.model_copy(update={"recompute": False})
    return rehearse(replace(drafted, recipe=drafted.recipe.model_copy(update={"training": training}))).training


def _holes(phase: Phase) -> int:
    return int(HOLES * sum(size for kind, size in phase.blocks if kind != "weights" and size <= LARGE))


def _needs(phase: Phase, process: int, holes: int) -> Mapping[str, int]:
    kinds = ("weights", "gradients", "optimizer", "activations", "working")
    return {"process": process, **{kind: phase.of(kind) for kind in kinds}, "allocator": holes}


def _changes(drafted: PreparedRun, place: Device, process: int) -> Iterable[Change]:
    """Of each way to need less the mildest form that fits, else its strongest."""
    from adapterhub_fin.engine.planning.dry_run import rehearse

    advised = False
    for group in alternatives(drafted):
        found: tuple[str, int] | None = None
        for setting, changed in group:
            needs = _fullest(changed, rehearse(changed), place, process)[1]
            found = setting, sum(needs.values())
            if found[1] <= place.available:
                break
        if found is not None:
            fits = found[1] <= place.available
            yield Change(*found, fits=fits, advised=fits and not advised)
            advised |= fits


def _assumptions(drafted: PreparedRun, place: Device) -> Iterable[str]:
    from adapterhub_fin.engine.planning.fake_model import loaded_dtype

    training, splitter = drafted.recipe.training, drafted.recipe.corpus.splitter
    if splitter.cutoff is not None:
        yield f"the run is that of the window whose cut-off is {splitter.cutoff}"
    if loaded_dtype(drafted.config, drafted.source.folder) is None:
        yield "weights in float32: neither the base's configuration nor its file says their type"
    if place.kind == "cpu":
        yield "all weights are touched: of a large vocabulary, rows that no text uses stay on the disk"
    else:
        yield f"{CONTEXT // 2**20} MiB for CUDA itself, and attention that keeps no scores where dropout is off"
    if any(getattr(drafted.config, name, None) for name in EXPERTS):
        yield "time leaves out what fused experts compute"
    if training.compile:
        yield "as if training.compile were off"
    if training.neftune is not None:
        yield "as if training.neftune were off"
    yield "time is that of every epoch, though training may stop early; on a device that does nothing else"
