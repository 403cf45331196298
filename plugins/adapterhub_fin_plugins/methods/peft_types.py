"""Provide every PEFT type as a method `peft:TYPE`, with PEFT's own configuration and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from adapterhub_fin.plugin import (
    AttachContext,
    BadRecipe,
    PeftMethod,
    PluginError,
    UnknownName,
    WrongTensors,
    fields_of,
    linear_layers,
    peft_model,
    peft_release,
)
from adapterhub_fin_plugins.methods.prompting import PromptMethod

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn
    from transformers import PretrainedConfig

TOKENS = 8  # virtual tokens of a prompt by default
# Fields that AttachContext sets, or that have no meaning in a recipe.
SETTLED = frozenset(
    ["task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"]
)
PROMPT = "prompt_embeddings"  # it goes to the prompt encoder, which PEFT reports as unexpected
HAS_OWN_TARGETS = frozenset(["ADAPTION_PROMPT", "IA3", "SHADOW", "TRAINABLE_TOKENS"])  # PEFT chooses their layers
KEYS_AND_VALUES = frozenset(["CARTRIDGE", "PREFIX_TUNING"])  # prompts that are not embeddings
NEEDS_WEIGHTS = frozenset(
    ["ADAMSS", "BOFT", "FROD", "SHIRA", "UNILORA"]
)  # attaching them computes with the base's weights
NOT_TRAINABLE = {
    "ADALORA": "its rank allocator must run in every step: use the method adalora",
    "MULTITASK_PROMPT_TUNING": "it needs a task number in every row, and rows here have none: use prompt-tuning",
    "POLY": "it needs a task number in every row, and rows here have none: use lora",
    "XLORA": "it mixes adapters that are already trained: train those with lora, and merge them",
}


class PeftType(PeftMethod):
    """Attach one of PEFT's types; the options are the fields of its configuration."""

    type_name: ClassVar[str]

    def __init__(self, options: Any) -> None:
        PeftMethod.__init__(self, options)  # PromptMethod's __init__ expects the options of the shipped prompts
        self.values: dict[str, Any] = dict(options.model_extra or {})
        self.fields = self._fields()
        for name in self.values:
            if name not in self.fields:
                raise UnknownName(f"option of the method {self._name()}", name, self.fields)
        self.checkpointing = self.type_name not in KEYS_AND_VALUES
        self.needs_real_weights = self.type_name in NEEDS_WEIGHTS
        if "num_virtual_tokens" in self.fields:
            self.num_virtual_tokens = int(self.values.get("num_virtual_tokens", TOKENS))

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration's fields that the options may set."""
        fields = cls._fields()
        return {name: value for name, value in config.items() if name in fields and value is not None}

    @classmethod
    def _name(cls) -> str:
        return f"peft:{cls.type_name.lower().replace('_', '-')}"

    @classmethod
    def _fields(cls) -> frozenset[str]:
        """Return the fields that the options may set. Raises PluginError if the installed PEFT has no such type."""
        fields = fields_of(cls.type_name)
        if fields is None:
            raise PluginError(f"peft {peft_release()} has no type {cls.type_name}: install a release that has it")
        return fields - SETTLED

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise BadRecipe for a type that recipes can't train, and for a prompt on an encoder-decoder base."""
        if self.type_name in NOT_TRAINABLE:
            raise BadRecipe(f"{self._name()} can't be trained from a recipe: {NOT_TRAINABLE[self.type_name]}")
        if self.num_virtual_tokens and config.is_encoder_decoder:
            raise BadRecipe(
                "prompt methods support encoders and decoders, and the base is an encoder-decoder: use lora"
            )

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        """Return PEFT's configuration.

        Raises BadRecipe for values that PEFT refuses, and PluginError for a package that is not installed.
        """
        import peft

        kinds: Any = peft.PEFT_TYPE_TO_CONFIG_MAPPING  # its keys are an enum of strings
        values = dict(self.values)
        if "target_modules" in self.fields and "target_modules" not in values and not self._has_targets(model):
            values["target_modules"] = linear_layers(model, context.targets, context.modules_to_save)
        if "num_virtual_tokens" in self.fields:
            values.setdefault("num_virtual_tokens", TOKENS)
        if context.modules_to_save and "modules_to_save" not in self.fields:
            raise BadRecipe(
                f"{self._name()} can't store the head's modules ({', '.join(context.modules_to_save)}): use causal-lm"
            )
        if "modules_to_save" in self.fields:
            values["modules_to_save"] = sorted({*values.get("modules_to_save", ()), *context.modules_to_save}) or None
        values["task_type"] = context.task  # some types check it on creation
        try:
            config: PeftConfig = kinds[self.type_name](**values)
        except (TypeError, ValueError) as error:
            raise BadRecipe(f"the method {self._name()}: {error}") from error
        except ImportError as error:
            raise PluginError(f"the method {self._name()} needs a package that is not installed: {error}") from error
        return config

    def _has_targets(self, model: nn.Module) -> bool:
        """Return whether PEFT itself knows which layers the type adapts in this architecture."""
        if self.type_name in HAS_OWN_TARGETS:
            return True
        import peft

        tuners: Any = peft.PEFT_TYPE_TO_TUNER_MAPPING
        mapping = getattr(tuners[self.type_name], "target_module_mapping", None) or {}
        return str(getattr(model.config, "model_type", "")) in mapping

    def fill(self, model: nn.Module, adapter_name: str, stored: Mapping[str, Tensor]) -> None:
        """Load the stored tensors with PEFT's own function: some types store other tensors than they compute with.

        Raises WrongTensors for a tensor that PEFT does not expect.
        """
        from peft import set_peft_model_state_dict

        result: Any = set_peft_model_state_dict(peft_model(model), dict(stored), adapter_name=adapter_name)
        if unexpected := [key for key in getattr(result, "unexpected_keys", ()) if key != PROMPT]:
            raise WrongTensors(f"PEFT does not expect the tensor {unexpected[0]}")


class PeftPromptType(PeftType, PromptMethod):
    """Attach one of PEFT's types that prepend a prompt to every text."""


def __getattr__(name: str) -> type[PeftType]:
    """Return the class of a PEFT type, such as `LN_TUNING`. Raises AttributeError for a name that isn't upper-case."""
    if not name.isupper():
        raise AttributeError(name)
    prompts = "num_virtual_tokens" in (fields_of(name) or ())
    attributes = {"type_name": name, "embedded": name not in KEYS_AND_VALUES, "__doc__": f"Attach PEFT's {name}."}
    return type(name, (PeftPromptType if prompts else PeftType,), {**attributes, "__module__": __name__})
