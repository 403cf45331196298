"""Extract an adapter from a fully fine-tuned model: its difference from the base, one matrix at a time."""

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
from adapterhub_fin.engine.importing.manifest import imported_manifest
from adapterhub_fin.engine.importing.read_folder import PeftFolder, read_folder
from adapterhub_fin.engine.merging.combine import check_rank
from adapterhub_fin.engine.merging.record import DIGITS
from adapterhub_fin.engine.merging.writing import write_lora
from adapterhub_fin.errors import BaseNotFound, WrongBase
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.choices import BaseChoice
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
    """Hold an extracted version, and how each parameter of the tuned model is stored in it."""

    version: Version
    parameters: Sequence[Extracted]  # as low-rank factors
    full_parameters: Sequence[str]  # in full, as in the tuned model
    left_out: Mapping[str, float]  # on request: norm of the difference over the norm of the base's parameter
    unchanged: int

    @property
    def energy(self) -> float:
        """Return the smallest share of its difference that a matrix kept."""
        return min((parameter.energy for parameter in self.parameters), default=1.0)


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
    """Add the difference between a fine-tuned model and its base as a LoRA of a rank, or a share of the energy.

    `tuned` is a Transformers folder with safetensors; `base` is a folder, an id, or `{id, path, revision,
    knowledge_end, evidence}`. Matrices become factors; heads and norms are stored in full. `leave_out` names parameters
    to ignore, with * as a wildcard. `corpus` is `{name, knowledge_end, evidence, license}` of the fine-tuning; inputs
    without a date count as known now. Raises BaseNotFound, WrongBase, BadMerge for a rank, BadRecipe, ReadOnly, and
    Unsupported naming what no adapter can hold.

    Example:
        >>> done = ahf.extract("runs/tuned", base="models/base", rank=8, into="acme/extracted")
        >>> done.version.reference
        'acme/extracted@1'
    """
    check_rank(rank)
    target = registry or configured_registries().writable()
    target.check_writable()
    check_name(into)
    folder = Path(tuned).expanduser()
    if not (folder / "config.json").is_file():
        raise BaseNotFound(f"{folder} holds no config.json: name the folder of a fine-tuned model")
    choice = BaseChoice.read(base)
    source = bases.find_base(choice, download=download, registry=target)
    from adapterhub_fin.engine.base.model_tensors import ModelTensors
    from adapterhub_fin.engine.folding.differences import Differences
    from adapterhub_fin.engine.folding.tuned import tuned_shell

    model, task = tuned_shell(folder, source.folder)
    tokenizer = _one_tokenizer(folder, source.folder)
    stored, origin = ModelTensors(folder, model), ModelTensors(source.folder, model)
    extracted = Differences(model, task, stored, origin, leave_out).extract(rank)
    with tempfile.TemporaryDirectory(prefix="ahf-extract-") as temporary:
        peft_folder = _written(Path(temporary), extracted, task, source)
        fingerprint = _fingerprint(model, tokenizer, peft_folder, source, origin)
        bound = target.bounded_now(folder, source.folder, name=into)
        manifest = imported_manifest(
            peft_folder, fingerprint.model_dump(), source.known, corpus, None, description, license, tuple(tags), bound
        )
        recipe = _recipe(folder, stored, rank, extracted)
        version = target.add(
            Path(temporary), manifest.model_copy(update={"recipe": recipe}), name=into, checks=extensions().vetoes()
        )
    if choice.path is not None:
        bases.remember(fingerprint_key(fingerprint), source.folder)
    return Extraction(
        version, extracted.matrices, sorted(extracted.full_weights), extracted.left_out, extracted.unchanged
    )


def _one_tokenizer(tuned: Path, base: Path) -> PreTrainedTokenizerBase:
    """Return the base's tokenizer, which a load of the version uses.

    Raises WrongBase where the tuned model has another tokenizer.
    """
    with quiet_loading():
        tokenizer = load_tokenizer(base)
        if not any((tuned / name).is_file() for name in ("tokenizer.json", *tokenizer.vocab_files_names.values())):
            return tokenizer
        own = load_tokenizer(tuned)
    described = Base(**describe_tokenizer(tokenizer), fingerprint="verified")
    if difference := other_tokenizer(own, described, conversations=True):
        raise WrongBase(
            f"the tokenizer of the tuned model at {tuned} {difference} of its base, and a version reads its texts "
            "with the base's: save the base with the tuned model's tokenizer, and name that as the base"
        )
    return tokenizer


def _written(folder: Path, extracted: ExtractedChanges, task: Task, source: bases.BaseSource) -> PeftFolder:
    """Write the adapter to a folder and return it as an import would read it; a head of one output is a regression."""
    write_lora(
        folder,
        extracted.parameters,
        extracted.changes,
        dtype=extracted.dtype,
        full_weights=extracted.full_weights,
        modules_to_save=extracted.modules_to_save,
        task=task.peft,
        base=source.repository,
        fan_in_fan_out=extracted.transposed,
        alike=extracted.alike,
    )
    peft_folder = read_folder(folder, task.labels)
    if task.name == "regress" and peft_folder.head is not None:
        return dataclasses.replace(peft_folder, head={**peft_folder.head, "name": "regress", "labels": None})
    return peft_folder


def _fingerprint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    peft_folder: PeftFolder,
    source: bases.BaseSource,
    origin: ModelTensors,
) -> Base:
    """Return the fingerprint of the base on disk: its parameters, one at a time, by their names in the bare base."""
    leave_out = peft_folder.modules_to_save if peft_folder.head else ()
    from adapterhub_fin.engine.base.model_tensors import fingerprinted

    read = fingerprinted(model, origin, leave_out)
    return source.named(describe_base(model, tokenizer, leave_out, source.repository, source.revision, read))


def _recipe(tuned: Path, stored: ModelTensors, rank: int | float, extracted: ExtractedChanges) -> Mapping[str, Any]:
    """Return how the version was made, for the manifest."""
    return {
        "extract": {
            "tuned": {"name": tuned.resolve().name, "files": _hashed(stored)},
            "rank": rank,
            "energy": {parameter.name: round(parameter.energy, DIGITS) for parameter in extracted.matrices},
            "left_out": {name: round(size, DIGITS) for name, size in extracted.left_out.items()},
        }
    }


def _hashed(stored: ModelTensors) -> list[list[Any]]:
    """Return name, size and SHA-256 of each file of the tuned model's weights, as a manifest lists files."""
    files = {name: tensors[0].file.path for name, tensors in stored.shards if tensors}
    return [[name, *hash_file(path)] for name, path in sorted(files.items())]
