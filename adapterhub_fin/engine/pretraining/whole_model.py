"""Train every parameter of a model, as a method: so that the trainer of adapters trains bases too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin.interfaces import MethodImplementation
from adapterhub_fin.plugin.options import NoOptions

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

    from adapterhub_fin.plugin.interfaces import AttachContext


class WholeModel(MethodImplementation):
    """Make all parameters trainable; a shared one, as tied embeddings are, is one parameter."""

    def __init__(self, options: Any = None) -> None:
        self.options = options or NoOptions()

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Accept every base."""
        return

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        """Return the model itself, all of it trainable."""
        return model.requires_grad_(True)

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        """Return the model itself."""
        return self.attach(model, context)

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return every parameter, by its name."""
        return dict(model.named_parameters())

    def write_config(self, model: Any, adapter_name: str, folder: Path) -> None:
        """Write the model's configuration."""
        model.config.save_pretrained(folder)

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        """Leave the model as it is: a base answers alone."""
        return
