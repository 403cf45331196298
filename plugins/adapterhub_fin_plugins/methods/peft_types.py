"""Every type that PEFT knows, by the name `peft:TYPE`: its own configuration and defaults, with no class for any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from adapterhub_fin.errors import BadRecipe, PluginError, UnknownName, WrongTensors
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.peft_fields import fields_of, peft_release
from adapterhub_fin.plugin.peft_method import PeftMethod, peft_model
from adapterhub_fin.plugin.target_layers import linear_layers
from adapterhub_fin_plugins.methods.prompting import PromptMethod

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn
    from transformers import PretrainedConfig

TOKENS = 8  # vectors of a prompt, where the options say nothing
# What the site says, or what makes no sense in a recipe.
SETTLED = frozenset(
    ["task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"]
)
PROMPT = "prompt_embeddings"  # it goes to the prompt's encoder, which PEFT does not count as a place
FINDS_ITS_OWN = frozenset(["ADAPTION_PROMPT", "IA3", "SHADOW", "TRAINABLE_TOKENS"])  # it, or layers of two kinds
KEYS_AND_VALUES = frozenset(["CARTRIDGE", "PREFIX_TUNING"])  # prompts that are no embeddings
NEEDS_VALUES = frozenset(
    ["ADAMSS", "BOFT", "FROD", "SHIRA", "UNILORA"]
)  # they compute with the weights when they are attached
NEEDS_MORE = {
    "ADALORA": "its rank allocator must be driven in every step: use the method adalora",
    "MULTITASK_PROMPT_TUNING": "it wants a task's number with every row, and rows here have none: use prompt-tuning",
    "POLY": "it wants a task's number with every row, and rows here have none: use lora",
    "XLORA": "it mixes adapters that were trained before: train those with lora, and merge them",
}


class PeftType(PeftMethod):
    """One of PEFT's types; the options are the fields of its configuration."""

    type_name: ClassVar[str]

    def __init__(self, options: Any) -> None:
        PeftMethod.__init__(self, options)  # a prompt's own beginning looks for an option of the shipped ones
        self.given: dict[str, Any] = dict(options.model_extra or {})
        self.fields = self._fields()
        for name in self.given:
            if name not in self.fields:
                raise UnknownName(f"option of the method {self._name()}", name, self.fields)
        self.checkpointing = self.type_name not in KEYS_AND_VALUES
        self.needs_real_weights = self.type_name in NEEDS_VALUES
        if "num_virtual_tokens" in self.fields:
            self.num_virtual_tokens = int(self.given.get("num_virtual_tokens", TOKENS))

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        fields = cls._fields()
        return {name: value for name, value in config.items() if name in fields and value is not None}

    @classmethod
    def _name(cls) -> str:
        return f"peft:{cls.type_name.lower().replace('_', '-')}"

    @classmethod
    def _fields(cls) -> frozenset[str]:
        """What the options may name; PluginError where the installed PEFT has no such type."""
        fields = fields_of(cls.type_name)
        if fields is None:
            raise PluginError(f"peft {peft_release()} has no type {cls.type_name}: install a release that has it")
        return fields - SETTLED

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        if self.type_name in NEEDS_MORE:
            raise BadRecipe(f"{self._name()} can't be trained from a recipe: {NEEDS_MORE[self.type_name]}")
        if self.num_virtual_tokens and config.is_encoder_decoder:
            raise BadRecipe("a prompt method here is for encoders and decoders, and the base has both: use lora")

    def peft_config(self, model: nn.Module, site: AttachContext) -> PeftConfig:
        import peft

        kinds: Any = peft.PEFT_TYPE_TO_CONFIG_MAPPING  # its keys are an enum of strings
        values = dict(self.given)
        if "target_modules" in self.fields and "target_modules" not in values and not self._knows(model):
            values["target_modules"] = linear_layers(model, site.targets, site.modules_to_save)
        if "num_virtual_tokens" in self.fields:
            values.setdefault("num_virtual_tokens", TOKENS)
        if site.modules_to_save and "modules_to_save" not in self.fields:
            raise BadRecipe(
                f"{self._name()} stores no head of a task ({', '.join(site.modules_to_save)}): use causal-lm"
            )
        if "modules_to_save" in self.fields:
            values["modules_to_save"] = sorted({*values.get("modules_to_save", ()), *site.modules_to_save}) or None
        values["task_type"] = site.task  # some types check it when they are made
        try:
            config: PeftConfig = kinds[self.type_name](**values)
        except (TypeError, ValueError) as error:
            raise BadRecipe(f"the method {self._name()}: {error}") from error
        except ImportError as error:
            raise PluginError(f"the method {self._name()} needs a package that is not installed: {error}") from error
        return config

    def _knows(self, model: nn.Module) -> bool:
        """Whether PEFT itself says what the type adapts in this architecture."""
        if self.type_name in FINDS_ITS_OWN:
            return True
        import peft

        tuners: Any = peft.PEFT_TYPE_TO_TUNER_MAPPING
        mapping = getattr(tuners[self.type_name], "target_module_mapping", None) or {}
        return str(getattr(model.config, "model_type", "")) in mapping

    def fill(self, model: nn.Module, adapter_name: str, stored: Mapping[str, Tensor]) -> None:
        """By PEFT's own loading: not every type's tensors are the ones that it computes with."""
        from peft import set_peft_model_state_dict

        result: Any = set_peft_model_state_dict(peft_model(model), dict(stored), adapter_name=adapter_name)
        if lost := [key for key in getattr(result, "unexpected_keys", ()) if key != PROMPT]:
            raise WrongTensors(f"PEFT found no place for {lost[0]}")


class PeftPromptType(PeftType, PromptMethod):
    """One of PEFT's types that put a prompt before every text."""


def __getattr__(name: str) -> type[PeftType]:
    """`LN_TUNING` and the like: the class of that type."""
    if not name.isupper():
        raise AttributeError(name)
    prompts = "num_virtual_tokens" in (fields_of(name) or ())
    told = {"type_name": name, "embedded": name not in KEYS_AND_VALUES, "__doc__": f"PEFT's {name}."}
    return type(name, (PeftPromptType if prompts else PeftType,), {**told, "__module__": __name__})
