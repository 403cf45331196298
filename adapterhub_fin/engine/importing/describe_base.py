"""Take the fingerprint of a base from the files in its folder, without loading the model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModel

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.check import describe_base
from adapterhub_fin.engine.base.load_base import fingerprint_key, load_config, load_tokenizer
from adapterhub_fin.engine.base.locks import building, on_meta
from adapterhub_fin.engine.base.model_tensors import ModelTensors, fingerprinted
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.importing.read_folder import is_unserved
from adapterhub_fin.engine.peft.embeddings import stored_embeddings
from adapterhub_fin.errors import Refused
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.model_parts import vocabulary_size
from adapterhub_fin_registry.model.manifest import Base

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.recipe.choices import BaseChoice
    from adapterhub_fin_registry import Registry


def describe_folder(
    choice: BaseChoice, head: Mapping[str, Any] | None, adapter: Path, registry: Registry | None = None
) -> Base:
    """Return the fingerprint of the base in a choice's folder, for a stored adapter and its manifest's head.

    It has the choice's id or stored version, not its path; a folder is remembered on this machine. Raises BaseNotFound
    if the folder has no model.
    """
    source = bases.find_base(choice, registry=registry)
    with building(), quiet_loading():
        model, tensors = _model(source.folder, _head(head))
        stored = stored_embeddings(model, adapter)
        modules = (*(head["modules_to_save"] if head else ()), *stored.modules)  # stored with the version
        parameters = None if tensors is None else fingerprinted(model, tensors, modules)
        rows = stored.rows_before(vocabulary_size(model))
        tokenizer = _tokenizer(source.folder)
        described = describe_base(model, tokenizer, modules, source.repository, source.revision, parameters, rows=rows)
    if source.version is None:
        bases.remember(fingerprint_key(described), source.folder)
    return source.named(described)


def _model(folder: Path, head: HeadImplementation | None) -> tuple[PreTrainedModel, ModelTensors | None]:
    """Return the model on the meta device and its files, or for pickles and quantized bases the loaded model alone."""
    config, bare = load_config(folder), AutoModel
    if getattr(config, "quantization_config", None) is None:
        with on_meta():
            shell: PreTrainedModel = bare.from_config(config) if head is None else head.skeleton(config)  # type: ignore[no-untyped-call]
        with suppress(Refused):  # pickles: Transformers loads them with weights_only
            return shell, ModelTensors(folder, shell)
    if head is None:
        return bare.from_pretrained(folder, local_files_only=True), None
    return head.load_model(str(folder), local_files_only=True)[0], None


def _head(record: Mapping[str, Any] | None) -> HeadImplementation | None:
    if record is None or is_unserved(record["name"]):
        return None
    head: HeadImplementation = build_plugin(Head, record["name"], {})
    head.set_labels(record["labels"])
    return head


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer in a base's folder; None if there is none, and then loads don't check it."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        return None
    return load_tokenizer(folder)
