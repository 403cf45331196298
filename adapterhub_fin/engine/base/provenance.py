"""Record which method made a version, and with which libraries."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from adapterhub_fin.errors import AdapterHubError, BadRecipe, PluginError
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.manager import extensions

LIBRARIES = ("adapterhub-fin", "torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "tokenizers")


def method_record(name: str, options: Mapping[str, Any], *, whole: bool = True) -> dict[str, Any]:
    """Return a method as a manifest holds it: its options, and the distribution that a reader must install.

    Unless `whole`, options that were not given are left out: of an import they are unknown, and no default of ours.
    """
    description = extensions().get(Method, name)
    owner = extensions().owner(description)
    provider = {"distribution": owner.distribution, "version": owner.version} if owner.version else None
    found = extensions().options(Method, name, options).model_dump(mode="json", exclude_unset=not whole)
    return {"name": name, "options": found, "provider": provider, "traits": description.traits}


def method_record_for(config: Mapping[str, Any]) -> dict[str, Any]:
    """The method that a foreign PEFT configuration is of; one that no plugin knows is stored all the same."""
    kind = str(config["peft_type"])
    methods = extensions().all(Method)
    for name in sorted(methods, key=lambda name: (":" in name, name)):  # one written for the type before a generic one
        description = methods[name]
        if description.peft_type != kind:
            continue
        try:
            return method_record(name, _options_from(description, config), whole=False)
        except BadRecipe:
            continue  # others may have trained with what no recipe here may ask for; the generic type takes it
    given = {key: value for key, value in config.items() if value is not None and key != "base_model_name_or_path"}
    return {"name": f"peft:{kind.lower().replace('_', '-')}", "options": given}


def _options_from(description: Method, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        options: dict[str, Any] = description.load().options_from(config)
    except AdapterHubError:
        raise
    except Exception as error:  # a plugin reads here what anybody may have written
        owner = extensions().owner(description)
        raise PluginError(
            f"the method {description.name} of plugin {owner.label} can't read this adapter's configuration "
            f"({type(error).__name__}: {error}): tell its author, or set AHF_DISABLE_PLUGINS={owner.name}"
        ) from error
    return options


def environment() -> dict[str, str]:
    """Library versions and the device, without a word of the machine; where torch was not needed, it was the CPU."""
    torch: Any = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    found = {"python": platform.python_version(), "device": torch.cuda.get_device_name() if gpu else "cpu"}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # run from a source tree that is not installed
    return found
