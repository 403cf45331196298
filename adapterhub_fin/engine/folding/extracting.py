"""Make an adapter of a whole model that was fine-tuned: what differs from its base, a matrix at a time."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.check import describe_base
from adapterhub_fin.engine.base.load_base import fingerprint_key, load_tokenizer
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer, other_tokenizer
from adapterhub_fin.engine.importing.manifest import foreign_manifest
from adapterhub_fin.engine.importing.read_folder import PeftFolder, read_folder
from adapterhub_fin.engine.merging.combine import check_rank
from adapterhub_fin.engine.merging.record import DIGITS
from adapterhub_fin.engine.merging.writing import write_lora
from adapterhub_fin.errors import BaseNotFound, WrongBase
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.recipe import BaseChoice
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.io.safe_read import hash_file
from adapterhub_fin_registry.model.manifest import Base
from adapterhub_fin_registry.model.reference import check_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from adapterhub_fin.engine.base.model_tensors import ModelTensors
    from adapterhub_fin.engine.folding.differences import Extracted, ExtractedChanges
    from adapterhub_fin.engine.folding.tuned import Task
    from adapterhub_fin_registry import Version


@dataclass(frozen=True)
class Extraction:
    """An extracted version: what became of each parameter that differs, and how many do not."""

    version: Version
    parameters: Sequence[Extracted]  # by low rank
    brought: Sequence[str]  # as they are in the tuned model, whole
    left_out: Mapping[str, float]  # by request: the norm of the difference over the base's
    unchanged: int

    @property
    def energy(self) -> float:
        """The least share that a matrix kept of its difference."""
        return min((each.energy for each in self.parameters), default=1.0)


def extract(
    tuned: str | Path,
    *,
    base: str | Path | Mapping[str, Any],
    into: str,
    rank: int | float = 32,
    leave_out: Sequence[str] = (),
    corpus: Mapping[str, Any] | None = None,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    download: bool = False,
    registry: Registry | None = None,
) -> Extraction:
    """Add the difference between a fine-tuned model and its base as a LoRA of a rank, or of a share of its energy.

    `tuned` is a folder of Transformers with safetensors; `base` a folder, an id, or `{id, path, revision,
    knowledge_end, evidence}`. Matrices become factors; heads and norms are brought whole; `leave_out` names parameters
    to do without, by patterns with *. `corpus` is `{name, knowledge_end, evidence, license}`, of the fine-tuning; what
    carries no date is bounded by this moment. Raises WrongBase, or Refused naming what no adapter can hold.
    """
    check_rank(rank)
    target = registry or configured_registries().writable()
    target.check_writable()
    check_name(into)
    folder = Path(tuned).expanduser()
    if not (folder / "config.json").is_file():
        raise BaseNotFound(f"{folder} holds no config.json: name the folder of a fine-tuned model")
    choice = BaseChoice.read(base)
    source = bases.find_base(choice, download=download)
    from adapterhub_fin.engine.base.model_tensors import ModelTensors
    from adapterhub_fin.engine.folding.differences import Differences
    from adapterhub_fin.engine.folding.tuned import tuned_shell

    model, task = tuned_shell(folder, source.folder)
    tokenizer = _one_tokenizer(folder, source.folder)
    stored, origin = ModelTensors(folder, model), ModelTensors(source.folder, model)
    found = Differences(model, task, stored, origin, leave_out).taken(rank)
    with tempfile.TemporaryDirectory(prefix="ahf-extract-") as place:
        foreign = _written(Path(place), found, task, source)
        pinned = _pinned(model, tokenizer, foreign, source, origin)
        bound = target.bounded_now(folder, source.folder, name=into)
        manifest = foreign_manifest(
            foreign, pinned.model_dump(), source.known, corpus, None, description, license, tuple(tags), bound
        )
        recipe = _recipe(folder, stored, rank, found)
        version = target.add(
            Path(place), manifest.model_copy(update={"recipe": recipe}), name=into, checks=extensions().vetoes()
        )
    if choice.path is not None:
        bases.remember(fingerprint_key(pinned), source.folder)
    return Extraction(version, found.extracted, sorted(found.full_weights), found.left_out, found.unchanged)


def _one_tokenizer(tuned: Path, base: Path) -> PreTrainedTokenizerBase:
    """The base's tokenizer, which a load of the version reads; WrongBase where the tuned model has another one."""
    with quiet_loading():
        tokenizer = load_tokenizer(base)
        if not any((tuned / name).is_file() for name in ("tokenizer.json", *tokenizer.vocab_files_names.values())):
            return tokenizer
        own = load_tokenizer(tuned)
    known = Base(**describe_tokenizer(tokenizer), fingerprint="verified")
    if off := other_tokenizer(own, known, conversations=True):
        raise WrongBase(
            f"the tokenizer of the tuned model at {tuned} {off} of its base, and a version reads its texts "
            "with the base's: save the base with the tuned model's tokenizer, and name that as the base"
        )
    return tokenizer


def _written(folder: Path, found: ExtractedChanges, task: Task, source: bases.BaseSource) -> PeftFolder:
    """The adapter in its folder, as an import would read it; a head of one figure is no classifier."""
    write_lora(
        folder,
        found.parameters,
        found.changes,
        dtype=found.dtype,
        full_weights=found.full_weights,
        modules_to_save=found.modules_to_save,
        task=task.peft,
        base=source.repository,
        fan_in_fan_out=found.transposed,
        alike=found.alike,
    )
    foreign = read_folder(folder, task.labels)
    if task.name == "regress" and foreign.head is not None:
        return dataclasses.replace(foreign, head={**foreign.head, "name": "regress", "labels": None})
    return foreign


def _pinned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    foreign: PeftFolder,
    source: bases.BaseSource,
    origin: ModelTensors,
) -> Base:
    """The base as it is on disk: its own parameters, one at a time, by their names in a bare base."""
    leave_out = foreign.modules_to_save if foreign.head else ()
    from adapterhub_fin.engine.base.model_tensors import fingerprinted

    read = fingerprinted(model, origin, leave_out)
    return describe_base(model, tokenizer, leave_out, source.repository, source.revision, read)


def _recipe(tuned: Path, stored: ModelTensors, rank: int | float, found: ExtractedChanges) -> Mapping[str, Any]:
    """How it was made, for the manifest."""
    return {
        "extract": {
            "tuned": {"name": tuned.resolve().name, "files": _hashed(stored)},
            "rank": rank,
            "energy": {each.name: round(each.energy, DIGITS) for each in found.extracted},
            "left_out": {name: round(size, DIGITS) for name, size in found.left_out.items()},
        }
    }


def _hashed(stored: ModelTensors) -> list[list[Any]]:
    """The tuned model's files of weights, as a manifest lists files: name, size and sha256."""
    files = {name: tensors[0].file.path for name, tensors in stored.shards if tensors}
    return [[name, *hash_file(path)] for name, path in sorted(files.items())]
