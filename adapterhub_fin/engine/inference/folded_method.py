"""Answer with a version whose changes were added to the base's own weights: nothing is left to switch on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from adapterhub_fin.errors import Unsupported
from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig


class FoldedMethod(MethodImplementation):
    """Stand for a method on a model into which its adapter was folded; all but answering raises Unsupported."""

    def __init__(self, folded: MethodImplementation) -> None:
        self.folded = folded

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        """Do nothing: the model answers as this adapter only."""
        return

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise Unsupported."""
        _refuse()

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        """Raise Unsupported."""
        _refuse()

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        """Raise Unsupported."""
        _refuse()

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Raise Unsupported: a sum of weights can't be taken apart again."""
        _refuse()

    def write_config(self, model: nn.Module, adapter_name: str, folder: Path) -> None:
        """Raise Unsupported."""
        _refuse()


def _refuse() -> NoReturn:
    raise Unsupported("the adapter was folded into its base, which holds no tensor of it: load it without fold")
