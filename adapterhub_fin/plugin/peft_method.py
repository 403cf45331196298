"""Provide what a method built on PEFT inherits: attach, rebuild, read and write by PEFT's public functions.

The folder is a plain PEFT folder: `PeftModel.from_pretrained(base, folder)` works with nothing of ours installed.
PEFT takes seconds to import, so each function imports it: reading a configuration or a recipe needs none of it.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import PluginError, WrongBase
from adapterhub_fin.plugin.adapter_files import CONFIG
from adapterhub_fin.plugin.base_changes import changes_base, computes_with_weights
from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation
from adapterhub_fin.plugin.other_adapters import only
from adapterhub_fin.plugin.peft_fields import unknown_settings
from adapterhub_fin.plugin.peft_names import check_adapted, check_names

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor, nn


class PeftMethod(MethodImplementation):
    """Implement a method whose `peft_config` says it all; subclass it and write that one function."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that an adapter_config.json amounts to."""
        return {}

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        """Return PEFT's configuration of a new adapter. Raises NotImplementedError: a subclass says which."""
        raise NotImplementedError

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        return self._attach_checked(model, self._config(model, context), context.adapter_name)

    def _attach_checked(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> nn.Module:
        """Attach a new adapter; BadRecipe where a name in its configuration matches nothing of the model."""
        from adapterhub_fin.plugin.model_parts import unwrapped, vocabulary_size

        inner, requested = unwrapped(model), copy.deepcopy(config)
        modules, parameters = dict(inner.named_modules()), dict(inner.named_parameters())
        check_names(requested, modules, parameters, vocabulary_size(model), self.method_name())
        wrapped = self._inject(model, config, adapter_name)
        adapted = getattr(peft_model(wrapped).base_model, "targeted_module_names", ())
        check_adapted(requested, modules, adapted, self.method_name())
        return wrapped

    def method_name(self) -> str:
        """Return what messages call the method."""
        return str(getattr(self, "type_name", type(self).__name__)).lower().replace("_", "-")

    def _config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        """Return the method's configuration with what the context says of task and base."""
        config = self.peft_config(model, context)
        config.task_type = context.task
        config.base_model_name_or_path = context.base
        return config

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        config = read_peft_config(folder)
        config.inference_mode = True
        return self._inject(model, config, context.adapter_name)

    def rebuild_needs_real_weights(self, folder: Path) -> bool:
        return self.needs_real_weights or computes_with_weights(read_settings(folder))

    def changes_base(self, folder: Path) -> str | None:
        return changes_base(read_settings(folder))

    def _inject(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> nn.Module:
        from peft import PeftModel, get_peft_model

        # get_peft_model puts the model's local path here, and warns where something else stood.
        name, config.base_model_name_or_path = config.base_model_name_or_path, None
        empty = next(model.parameters()).is_meta  # a twin's adapter needs no values either
        if isinstance(model, PeftModel):
            try:
                model.add_adapter(adapter_name, config, low_cpu_mem_usage=empty)
            except (ValueError, TypeError) as error:  # some go with no other on one model, or not on one layer
                reason = str(error).partition("\n")[0]
                raise WrongBase(
                    f"the adapter can't be attached beside another ({reason}): load it onto a base of its own"
                ) from error
            model.set_adapter(adapter_name, inference_mode=config.inference_mode)
            wrapped = model
        elif getattr(model, "peft_config", None):
            raise WrongBase("this model carries adapters already: pass the PeftModel that wraps it, or a fresh base")
        else:
            try:
                with _without_notices():
                    wrapped = get_peft_model(model, config, adapter_name=adapter_name, low_cpu_mem_usage=empty)
            except ValueError as error:  # PEFT says which layers it looked for, and where
                raise WrongBase(f"the adapter can't be attached: {error}") from error
        config.base_model_name_or_path = name
        return wrapped

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        from peft import get_peft_model_state_dict

        from adapterhub_fin.plugin.model_parts import ADAPTER_NAME

        # A bool, not "auto", which looks the base up on the network (peft 1452).
        try:
            state = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
        except KeyError as error:  # PEFT asks every adapter for the rows that one on the model has trained
            raise WrongBase(
                "an adapter on this model trains single tokens, and PEFT can't read one without them beside it "
                f"({error}): load this one onto a base of its own"
            ) from error
        # PEFT leaves out this PeftModel's other adapters, and not those of another that wraps the same backbone.
        return {name: state[name] for name in sorted(state) if not any(map(ADAPTER_NAME.fullmatch, name.split(".")))}

    def plain_config(self, model: nn.Module, adapter_name: str) -> dict[str, Any]:
        """Return PEFT's configuration of an adapter, as its folder holds it: plain values, without a runtime name."""
        return {**plain(peft_model(model).peft_config[adapter_name].to_dict()), "inference_mode": True}

    def write_config(self, model: nn.Module, adapter_name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.plain_config(model, adapter_name), indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        wrapped = peft_model(model)
        if wrapped.active_adapters != [adapter_name] or not _answers(wrapped, adapter_name):
            with only(wrapped, adapter_name):
                wrapped.set_adapter(adapter_name, inference_mode=True)


def peft_model(model: nn.Module) -> Any:
    """Return the PeftModel that a method returned; untyped, as PEFT's own attributes are.

    Raises PluginError for any other model.
    """
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        raise PluginError("a method built on PEFT must be given the PeftModel that it returned")
    return model


def _answers(model: PeftModel, adapter_name: str) -> bool:
    """Tell whether the shared layers have this adapter active too: another PeftModel may wrap the same backbone."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layer = next((module for module in model.modules() if isinstance(module, BaseTunerLayer)), None)
    return layer is None or layer.active_adapters == [adapter_name]


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the stored adapter_config.json."""
    settings: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return settings


def read_peft_config(folder: Path) -> PeftConfig:
    """Read the stored configuration. Raises PluginError for a key that is set and that this PEFT does not know."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    stored = read_settings(folder)
    if unknown := unknown_settings(stored):
        raise PluginError(unknown)
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[stored["peft_type"]]
    return kind(**{key: value for key, value in stored.items() if key in kind.__dataclass_fields__})


def plain(value: Any) -> Any:
    """Return plain JSON values; sets are sorted, so that the same adapter gives the same bytes."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(inner) for inner in value)
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if type(value).__name__ == "dtype" and type(value).__module__ == "torch":
        return str(value).removeprefix("torch.")
    return getattr(value, "value", value)


@contextmanager
def _without_notices() -> Iterator[None]:
    """Drop two notices while PEFT wraps a model.

    PEFT 0.21 reads a property that Transformers 5.23 has renamed; and it warns of a second adapter on one backbone,
    which is what `attach` is for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="You are trying to modify a model with PEFT for a second time")
        yield
