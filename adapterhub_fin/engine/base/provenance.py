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


def method_record(name: str, options: Mapping[str, Any], *, defaults: bool = True) -> dict[str, Any]:
    """Return a method as a manifest records it: its options, and the distribution that a reader must install.

    Without `defaults`, options that aren't given are left out: those of an import are unknown. Raises NotFound for an
    unknown method and BadRecipe for wrong options.
    """
    description = extensions().get(Method, name)
    owner = extensions().owner(description)
    provider = {"distribution": owner.distribution, "version": owner.version} if owner.version else None
    recorded = extensions().options(Method, name, options).model_dump(mode="json", exclude_unset=not defaults)
    return {"name": name, "options": recorded, "provider": provider, "traits": description.traits}


def method_record_for(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an imported PEFT configuration's method, even if no plugin knows it.

    Raises PluginError if the plugin that knows it can't read the configuration.
    """
    kind = str(config["peft_type"])
    methods = extensions().all(Method)
    for name in sorted(methods, key=lambda name: (":" in name, name)):  # one written for the type before a generic one
        description = methods[name]
        if description.peft_type != kind:
            continue
        try:
            return method_record(name, _options_from(description, config), defaults=False)
        except BadRecipe:
            continue  # it was trained with options that no recipe allows here; the generic type takes them
    given = {key: value for key, value in config.items() if value is not None and key != "base_model_name_or_path"}
    return {"name": f"peft:{kind.lower().replace('_', '-')}", "options": given}


def _options_from(description: Method, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        options: dict[str, Any] = description.load().options_from(config)
    except AdapterHubError:
        raise
    except Exception as error:  # a plugin may fail on a file from anyone
        owner = extensions().owner(description)
        raise PluginError(
            f"the method {description.name} of plugin {owner.label} can't read this adapter's configuration "
            f"({type(error).__name__}: {error}): tell its author, or set AHF_DISABLE_PLUGINS={owner.name}"
        ) from error
    return options


def environment() -> dict[str, str]:
    """Return the versions of Python and the libraries, and the device, but nothing that identifies the machine.

    The device is "cpu" if torch was never imported.
    """
    torch: Any = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    versions = {"python": platform.python_version(), "device": torch.cuda.get_device_name() if gpu else "cpu"}
    return versions | _versions()


def libraries() -> str:
    """Return the versions of the libraries in one line: a run that goes on under others gives neither's weights."""
    return ", ".join(f"{library} {number}" for library, number in _versions().items())


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue  # run from a source tree that is not installed
    return versions
