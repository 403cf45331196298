"""Hold one base in memory, checked once, whose layers take any adapter's changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from adapterhub_fin.engine.base.chat_template import renders_by_base
from adapterhub_fin.engine.base.check import check_base, describe_base, record_first_fingerprint
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.inference.attach import base_requirements, with_head
from adapterhub_fin.engine.peft.embeddings import StoredEmbeddings, stored_embeddings
from adapterhub_fin.engine.pool.recent import Recent
from adapterhub_fin.engine.pool.replay import BackboneDoor
from adapterhub_fin.engine.pool.routing import adding
from adapterhub_fin.errors import WrongTensors
from adapterhub_fin.plugin.head_bases import EmbeddingHead, SequenceHead
from adapterhub_fin.plugin.model_parts import backbone, backbone_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.plugin.heads import HeadImplementation


STRUCTURES: Final = 64  # of heads, and of what is compared of a base, that are remembered


class Trunk:
    """Hold a base: the bare backbone, or for a base that writes the whole model. Nothing on it is ever switched."""

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, described: str) -> None:
        self.model, self.tokenizer, self.described = model.eval().requires_grad_(False), tokenizer, described
        self.backbone = backbone(model)
        self.device: torch.device = next(model.parameters()).device
        align_padding(model, tokenizer)
        self.loses_rows = False  # a layer of it doesn't compute in the order of the rows, so that adapters can't mix
        self.tried: frozenset[str] = frozenset()  # layers that were seen to keep the order of rows
        self._lock = RLock()
        self._accepted: Recent[tuple[object, ...], bool] = Recent(STRUCTURES)  # bases of versions that this one is
        self._hooked: dict[str, nn.Module] = {}
        self._prototypes: Recent[str, nn.Module] = Recent(STRUCTURES)  # by the structure of their heads

    @property
    def writes(self) -> bool:
        """Return whether the trunk has an output layer that writes tokens."""
        return self.model is not self.backbone

    @property
    def hooked(self) -> frozenset[str]:
        """Return the keys of the layers that take changes."""
        return frozenset(self._hooked)

    def head_for(self, resolved: ResolvedVersion) -> tuple[nn.Module, StoredEmbeddings]:
        """Return a version's model around this backbone, without values where the version brings them.

        With it comes what the version stores of embeddings. Raises WrongBase where the base is another than the
        version's, compared once for all versions of one base.
        """
        with self._lock:
            shell = self._prototype(resolved)
            stored = stored_embeddings(shell, resolved.folder, resolved.header)
            self._check(resolved, shell, stored)
        return shell, stored

    def _prototype(self, resolved: ResolvedVersion) -> nn.Module:
        head = resolved.head
        if head is None or head.task == "FEATURE_EXTRACTION":
            return self.backbone
        if head.task == "CAUSAL_LM":
            return with_head(self.model, resolved)
        signature = head_signature(resolved)
        shell = self._prototypes.get(signature)
        if shell is None:
            shell = with_head(self.backbone, resolved).eval().requires_grad_(False)
            self._prototypes.put(signature, shell)
        return shell

    def _check(self, resolved: ResolvedVersion, shell: nn.Module, stored: StoredEmbeddings) -> None:
        base, apart, grown = base_requirements(shell, resolved, stored)
        conversations = renders_by_base(resolved.head)
        key = base.model_dump_json(), tuple(sorted(apart)), grown, conversations
        if not self._accepted.get(key):
            check_base(shell, self.tokenizer, base, apart, self.described, grown=grown, conversations=conversations)
            self._accepted.put(key, True)
        if base.fingerprint != "verified":
            first = describe_base(shell, self.tokenizer, apart, base.repository, base.revision)
            record_first_fingerprint(resolved.registry, resolved.version, first)

    def layer(self, name: str, shell: nn.Module) -> tuple[str, nn.Module]:
        """Return the key and the module of a layer, by its name in a version's model; it takes changes from now on.

        Raises WrongTensors where this base has no such layer.
        """
        prefix = backbone_prefix(shell)
        core = name.removeprefix(prefix)
        inside = name.startswith(prefix) and (prefix or shell is self.backbone)
        owner, key = (self.backbone, core) if inside else (self.model, f"model:{name}")
        if key in self._hooked:
            return key, self._hooked[key]
        try:
            module = owner.get_submodule(core if inside else name)
        except AttributeError as error:
            raise WrongTensors(f"{self.described} has no layer {name}: load the base of that version") from error
        with self._lock:
            if key not in self._hooked:
                module.register_forward_hook(adding(self, key))
                self._hooked[key] = module
        return key, module

    def copy_of(self, shell: nn.Module, values: Callable[[str, Tensor], Tensor]) -> nn.Module:
        """Return a head of its own on this backbone, (modules beside the backbone copied), filled with `values`."""
        door = BackboneDoor(self.backbone)
        config = getattr(shell, "config", None)
        own: nn.Module = copy.deepcopy(shell, {id(self.backbone): door, id(config): config})
        for path, module in own.named_modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                full = f"{path}.{name}" if path else name
                setattr(module, name, nn.Parameter(values(full, parameter), requires_grad=False))
        return own


def head_signature(resolved: ResolvedVersion) -> str:
    """Return text that is equal for versions whose heads have one structure, so that it is built once.

    Numbers that a head fitted don't count where they can't change its modules.
    """
    head, stored = resolved.head, resolved.version.manifest.head
    assert head is not None and stored is not None
    options: Mapping[str, Any] = stored.options
    fields: Any = head.model_fields() if isinstance(head, SequenceHead) else {}
    if isinstance(head, SequenceHead) and not _builds_its_own(head):
        options = {name: value for name, value in options.items() if name not in head.fitted_options()}
    facts = [stored.name, options, fields, stored.modules_to_save]
    return json.dumps(facts, sort_keys=True, default=str)


def _builds_its_own(head: HeadImplementation) -> bool:
    """Return whether a head changes the model that it is put on, by numbers that this module can't know."""
    own = (EmbeddingHead.skeleton, SequenceHead.skeleton)
    return type(head).skeleton not in own or getattr(type(head), "finish_model", None) is not SequenceHead.finish_model
