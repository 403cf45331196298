"""Tell what the installed PEFT's configurations may hold, without importing PEFT.

PEFT takes five seconds to import, and a folder is imported, or a recipe refused, by the names of its settings alone.
So the fields of its dataclasses are read from its source; where it has been imported already, from the classes.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin.adapter_files import CONFIG

# PEFT's own bookkeeping, which it writes or reads whatever the type.
ALWAYS = frozenset(["peft_version", "auto_mapping", "revision", "runtime_config"])
REGISTERED = re.compile(r"register_peft_method\((.*?)\)", re.DOTALL)
NAME, KIND = re.compile(r"\bname=\"(\w+)\""), re.compile(r"\bconfig_cls=(\w+)")


def stated(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return options by our names, from those fields of a configuration that are there and set."""
    return {ours: config[theirs] for ours, theirs in names.items() if config.get(theirs) is not None}


def peft_release() -> str:
    """Return the installed PEFT's version."""
    try:
        return version("peft")
    except PackageNotFoundError:
        return "(not installed)"


def unknown_settings(stored: Mapping[str, Any]) -> str | None:
    """Say what keeps the installed PEFT from reading a configuration as it was meant, and what to do; None if nothing.

    `stored` is an adapter_config.json.
    """
    kind = stored.get("peft_type")
    fields = fields_of(kind) if isinstance(kind, str) else None
    if fields is None:
        return f"peft {peft_release()} has no type {kind!r}: install a release that has it"
    unknown = sorted(key for key, value in stored.items() if key not in fields | ALWAYS and value)
    if not unknown:
        return None
    release = f"peft {stored['peft_version']}" if stored.get("peft_version") else "a newer one"
    return f"{CONFIG} sets {', '.join(unknown)}, which peft {peft_release()} would ignore: load it with {release}"


def fields_of(kind: str) -> frozenset[str] | None:
    """Return the names of the fields that a PEFT type's configuration has, such as LORA's; None for no such type."""
    if "peft" in sys.modules:
        return _fields_imported(kind)
    try:
        return fields_in_source(kind)
    except (OSError, SyntaxError, LookupError):  # another layout than the one read here: PEFT itself knows
        return _fields_imported(kind)


def _fields_imported(kind: str) -> frozenset[str] | None:
    import peft

    kinds: Any = peft.PEFT_TYPE_TO_CONFIG_MAPPING  # its keys are an enum of strings
    config_class = kinds.get(kind)
    return None if config_class is None else frozenset(field.name for field in dataclasses.fields(config_class))


@cache
def fields_in_source(kind: str) -> frozenset[str] | None:
    """Read the same from PEFT's source; LookupError where it is not laid out as it was."""
    configuration = _configurations().get(kind)
    return None if configuration is None else frozenset(_fields(*configuration))


@cache
def _configurations() -> dict[str, tuple[str, Path]]:
    """Find the class of each type's configuration and the folder it is registered in."""
    configurations = {}
    for path in sorted(_source().glob("tuners/*/__init__.py")):
        for arguments in REGISTERED.findall(path.read_text(encoding="utf-8")):
            name, kind = NAME.search(arguments), KIND.search(arguments)
            if name and kind:
                configurations[name[1].upper()] = (kind[1], path.parent)
    if "LORA" not in configurations:
        raise LookupError("no type is registered where PEFT 0.21 registers them")
    return configurations


def _source() -> Path:
    spec = find_spec("peft")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("peft is not installed as a folder")
    return Path(spec.submodule_search_locations[0])


def _fields(name: str, folder: Path) -> Iterator[str]:
    """Collect annotated names in the body of a class and of its bases, as `dataclasses` does."""
    definition, where = _class(name, folder)
    for base in definition.bases:
        if isinstance(base, ast.Name) and base.id.endswith(("Config", "ConfigMixin")):
            yield from _fields(base.id, where)
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            if not annotation.startswith(("ClassVar", "typing.ClassVar", "InitVar")):
                yield statement.target.id


def _class(name: str, folder: Path) -> tuple[ast.ClassDef, Path]:
    """Find the definition of a class: in its own folder, in PEFT's config.py, or in any other tuner's."""
    source = _source()
    near = [folder / "config.py", source / "config.py", *sorted(source.glob("tuners/*.py"))]
    for path in [*near, *sorted(source.glob("tuners/*/config.py"))]:
        if path.is_file() and (definition := _classes(path).get(name)) is not None:
            return definition, path.parent
    raise LookupError(f"no class {name} is in PEFT's source")


@cache
def _classes(path: Path) -> dict[str, ast.ClassDef]:
    text = path.read_text(encoding="utf-8")
    if "Config" not in text:
        return {}
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
