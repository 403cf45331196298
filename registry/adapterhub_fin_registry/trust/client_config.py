"""Read the client's own file, `config.toml`: its policy, the key that it signs with, and its registries in order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.errors import BadConfiguration
from adapterhub_fin_registry.model.reference import is_segment
from adapterhub_fin_registry.trust.policy import Rules
from adapterhub_fin_registry.trust.strict_toml import Table, read_toml

FILE: Final = "AHF_CONFIG"
HOME: Final = "home"


@dataclass(frozen=True)
class RegistryEntry:
    """Represent a registry that the client asks: a folder has a `path`, a Hub has a `uri`."""

    name: str
    path: Path | None
    uri: str | None = None
    read_only: bool = False


@dataclass(frozen=True)
class Configuration:
    """Hold the client's configuration.

    By default every version is allowed, nothing is signed, and the default registry is used.
    """

    source: Path
    policy: Rules
    sign_with: Path | None = None
    registries: tuple[RegistryEntry, ...] = ()

    @classmethod
    def read(cls) -> Configuration:
        """Read the configuration of this process: AHF_CONFIG, else `config.toml` in the user's configuration folder.

        Raises BadConfiguration if the file can't be used, or if AHF_CONFIG names one that doesn't exist: an unreadable
        policy must not be mistaken for an empty one.
        """
        given = os.environ.get(FILE)
        source = Path(given).expanduser().absolute() if given else _default_file()
        # The user's own file may be a link, since some people keep their configuration elsewhere.
        table = read_toml(Path(os.path.realpath(source)))
        if table is None:
            if given or source.is_symlink():
                raise BadConfiguration(
                    f"the configuration {source} isn't there: write it, or fix what names it ({FILE})"
                )
            return cls(source, Rules(source))
        table = Table(source, table.values)
        table.check_known(("policy", "sign_with", "registries"))
        sign_with = table.text("sign_with")
        return cls(
            source,
            Rules.read(table.table("policy"), paths=True),
            None if sign_with is None else source.parent / Path(sign_with).expanduser(),
            _entries(table.tables("registries"), source),
        )


def _entries(tables: list[Table], source: Path) -> tuple[RegistryEntry, ...]:
    entries = tuple(_entry(table) for table in tables)
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise BadConfiguration(f"{source} names two registries {name}: give each a name of its own")
    return entries


def _entry(table: Table) -> RegistryEntry:
    table.check_known(("name", "path", "uri", "read_only"))
    name, path, uri = table.text("name"), table.text("path"), table.text("uri")
    if name is None or not is_segment(name) or name == HOME:
        raise BadConfiguration(
            f"a registry in {table.source} is named {name!r}: name it with lowercase letters and digits, not {HOME}"
        )
    if (path is None) == (uri is None):
        raise BadConfiguration(f"the registry {name} in {table.source} must have a path or a uri: give one of them")
    if uri is not None and not uri.startswith("hf://"):
        raise BadConfiguration(f"the registry {name} in {table.source} is at {uri!r}: a uri begins with hf://")
    where = None if path is None else (table.source.parent / Path(path).expanduser()).absolute()
    return RegistryEntry(name, where, uri, table.boolean("read_only"))


def _default_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("adapterhub_fin", appauthor=False) / "config.toml"
