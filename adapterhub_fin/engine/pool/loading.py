"""Load versions for a pool: its base once for each structure that heads need, and each version's own tensors."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.adapter_names import POOLED
from adapterhub_fin.engine.base.check import check_shape, expected_base
from adapterhub_fin.engine.base.load_base import load_base, load_config, load_tokenizer
from adapterhub_fin.engine.base.locks import building, on_meta
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.importing.read_folder import task_of
from adapterhub_fin.engine.inference.attach import base_requirements
from adapterhub_fin.engine.inference.find import ResolvedVersion, read_version
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.engine.peft.embeddings import stored_embeddings
from adapterhub_fin.engine.pool.recent import Recent
from adapterhub_fin.engine.pool.resident import Resident, plain_changes, private, shared
from adapterhub_fin.engine.pool.trunk import STRUCTURES, Trunk, head_signature
from adapterhub_fin.errors import BadRecipe, Unsupported, WrongBase
from adapterhub_fin.plugin.model_parts import backbone, model_part, unwrapped, vocabulary_size
from adapterhub_fin.plugin.other_adapters import ADAPTERS
from adapterhub_fin.plugin.trusted_code import remote_code, trusting_remote_code
from adapterhub_fin.recipe.choices import BaseChoice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry import Registry, Version


class Loader:
    """Load the versions of one base."""

    def __init__(
        self,
        base: str | Path | nn.Module,
        tokenizer: PreTrainedTokenizerBase | None,
        device: str | torch.device | None,
        download: bool,
        trust_remote_code: bool,
        registry: Registry | None = None,
    ) -> None:
        self._lock = RLock()
        self._trunks: dict[str, Trunk] = {}
        self._skeletons: Recent[str, tuple[nn.Module, str]] = Recent(STRUCTURES)  # by the structure of their heads
        self._device, self._trusted, self._tokenizer = device, trust_remote_code, tokenizer
        self._given: nn.Module | None = None
        if isinstance(base, nn.Module):
            self.called = f"the {type(unwrapped(base)).__name__} given as base"
            self._given = _taken(base)
            return
        choice = BaseChoice.read(base)
        with trusting_remote_code(trust_remote_code):
            self._folder = bases.find_base(choice, download=download, registry=registry).folder
            self._config: Any = load_config(self._folder)
        self.called = f"the base at {self._folder}"

    def load(self, version: Version, registry: Registry) -> Resident:
        """Return a version in memory, its files verified and its base checked. Raises what `ahf.load` raises.

        What was parsed of its manifest is freed, some 200 KB that no answer needs.
        """
        try:
            with trusting_remote_code(self._trusted):
                resolved = read_version(registry, version)
                try:
                    return shared(resolved, self._trunk(resolved), plain_changes(resolved))
                except Unsupported as error:
                    reason = str(error)
                return private(self._private(resolved), reason)
        finally:
            version.forget()

    def _private(self, resolved: ResolvedVersion) -> Any:
        """Return a version on a copy of the base that is its own."""
        version, registry = resolved.version, resolved.registry
        if self._given is None:
            return load(version, base=self._folder, registry=registry, device=self._device)
        with building():
            own = copy.deepcopy(self._given)
        del backbone(own).__dict__[POOLED]
        return load(version, base=own, tokenizer=self._tokenizer, registry=registry)

    def _trunk(self, resolved: ResolvedVersion) -> Trunk:
        """Return the base with the structure that a version's head needs; loaded once for each."""
        with self._lock:
            if self._given is not None:
                if not self._trunks:
                    self._trunks["given"] = Trunk(self._given, self._own_tokenizer(), self.called)
                return self._trunks["given"]
            skeleton, structure = self._skeleton(resolved)
            quantization = expected_base(resolved.registry, resolved.version).quantization
            key = json.dumps([structure, quantization], sort_keys=True)
            if key not in self._trunks:
                stored = stored_embeddings(skeleton, resolved.folder, resolved.header)
                base, apart, grown = base_requirements(skeleton, resolved, stored)
                check_shape(skeleton, base, apart, self.called, grown=grown)  # before gigabytes are read
                self._trunks[key] = self._loaded(resolved)
            return self._trunks[key]

    def _skeleton(self, resolved: ResolvedVersion) -> tuple[nn.Module, str]:
        """Return a version's model without values, and the digest of its backbone's structure."""
        head = resolved.head
        task = task_of(resolved.folder, resolved.header)[0]
        if head is None and task not in (None, "FEATURE_EXTRACTION", "CAUSAL_LM", "SEQ_CLS"):
            raise Unsupported(f"{resolved.version.reference} is for the task {task}, which no head here serves")
        signature = head_signature(resolved) if head is not None else "none"
        if (cached := self._skeletons.get(signature)) is not None:
            return cached
        with on_meta():
            skeleton = head.skeleton(self._config) if head is not None else _bare(self._config)
        return self._skeletons.put(signature, (skeleton, fingerprint.structure_digest(skeleton)))

    def _loaded(self, resolved: ResolvedVersion) -> Trunk:
        with quiet_loading(), torch.random.fork_rng(devices=[]):
            model = self._model(resolved)
            tokenizer = self._tokenizer or load_tokenizer(self._folder)
        if self._device is not None:
            model.to(self._device)
        return Trunk(model, padding(tokenizer, vocabulary_size(model)), self.called)

    def _model(self, resolved: ResolvedVersion) -> nn.Module:
        """Return the base's own whole model if it writes, else the backbone of a version's model."""
        from transformers import AutoModelForCausalLM

        names = getattr(self._config, "architectures", None) or [""]
        if names[0].endswith("ForCausalLM"):
            loading = {**resolved.method.loading(), "local_files_only": True, **remote_code()}
            read: Any = AutoModelForCausalLM.from_pretrained
            model: nn.Module = read(self._folder, **loading)
            resolved.method.prepare_base(model)
            return model
        loaded, _ = load_base(self._folder, resolved.head, resolved.method, *task_of(resolved.folder))
        writes = resolved.head is not None and resolved.head.task == "CAUSAL_LM"
        return loaded if writes else backbone(loaded)

    def _own_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer of a model that was given: its own, or the one beside its files."""
        assert self._given is not None
        if self._tokenizer is None:
            config: Any = getattr(unwrapped(self._given), "config", None)
            folder = Path(str(getattr(config, "name_or_path", "")))
            if not (folder / "tokenizer_config.json").is_file():
                raise BadRecipe(f"{self.called} has no files beside it to read its tokenizer from: give tokenizer=...")
            with quiet_loading():
                self._tokenizer = load_tokenizer(folder)
        return padding(self._tokenizer, vocabulary_size(self._given))


def _taken(model: nn.Module) -> nn.Module:
    """Return what of a model in memory is the base, which belongs to the pool from now on.

    Raises WrongBase for a model that carries adapters.
    """
    core = backbone(model)
    if getattr(model, "peft_config", None) or core.__dict__.get(ADAPTERS):
        raise WrongBase("the model given as base carries adapters: give the bare base")
    core.__dict__[POOLED] = True
    return core if model_part(model, "get_output_embeddings") is None else model


def _bare(config: Any) -> nn.Module:
    from transformers import AutoModel

    build: Any = AutoModel.from_config
    model: nn.Module = build(config, **remote_code())
    return model
