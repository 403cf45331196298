"""Read TOML that security depends on.

A file that can't be read, or that holds an unknown key, is an error and never the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import BadConfiguration
from adapterhub_fin_registry.io.safe_read import NotRegularError, open_regular

_LIMIT: Final = 2**20  # bytes


@dataclass(frozen=True)
class Table:
    """Represent a table of a file. Reading a key whose value has another type raises BadConfiguration."""

    source: Path
    values: Mapping[str, Any]

    def check_known(self, allowed: Iterable[str]) -> None:
        """Raise BadConfiguration for a key that isn't among the known ones.

        A misspelt rule would otherwise have no effect.
        """
        for key in sorted(self.values.keys() - set(allowed)):
            near = get_close_matches(key, sorted(allowed), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(allowed)}"
            raise BadConfiguration(f"{self.source} holds the unknown key {key[:50]!r}: {hint}")

    def boolean(self, key: str) -> bool:
        """Return True or False; False if the key is missing.

        Raises BadConfiguration for any other value.
        """
        return bool(self._typed(key, bool, "true or false"))

    def text(self, key: str) -> str | None:
        """Return a text that isn't empty; None if the key is missing.

        Raises BadConfiguration for any other value.
        """
        value = self._typed(key, str, "a text")
        if value == "":
            raise self._wrong(key, "a text that isn't empty")
        return None if value is None else str(value)

    def size(self, key: str) -> int | None:
        """Return a number of bytes; None if the key is missing.

        Raises BadConfiguration for any other value.
        """
        value = self._typed(key, int, "a number of bytes, such as 200_000_000")
        if value is not None and value < 0:
            raise self._wrong(key, "a number of bytes, such as 200_000_000")
        return None if value is None else int(value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts; None if the key is missing, which differs from an empty list.

        Raises BadConfiguration for any other value.
        """
        value = self._typed(key, list, 'a list of texts, such as ["mit", "apache-*"]')
        if value is not None and not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, 'a list of texts, such as ["mit", "apache-*"]')
        return None if value is None else tuple(value)

    def texts_by_name(self, key: str) -> dict[str, str]:
        """Return a table of texts; an empty one if the key is missing.

        Raises BadConfiguration for any other value.
        """
        value = self._typed(key, dict, 'a table of texts, such as {desk = "desk.pub"}') or {}
        if not all(isinstance(item, str) and item for item in value.values()):
            raise self._wrong(key, 'a table of texts, such as {desk = "desk.pub"}')
        return dict(value)

    def table(self, key: str) -> Table:
        """Return a nested table; an empty one if the key is missing.

        Raises BadConfiguration for any other value.
        """
        return Table(self.source, self._typed(key, dict, f"a table, [{key}]") or {})

    def tables(self, key: str) -> list[Table]:
        """Return a list of tables; an empty one if the key is missing.

        Raises BadConfiguration for any other value.
        """
        value = self._typed(key, list, f"a list of tables, [[{key}]]") or []
        if not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, f"a list of tables, [[{key}]]")
        return [Table(self.source, item) for item in value]

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        value = self.values.get(key)
        if value is not None and type(value) is not kind:  # TOML's true is an int to isinstance
            raise self._wrong(key, expected)
        return value

    def _wrong(self, key: str, expected: str) -> BadConfiguration:
        return BadConfiguration(f"{key} in {self.source} must be {expected}: fix it")


def read_toml(path: Path) -> Table | None:
    """Return the table in a file; None if there is no such file.

    Raises BadConfiguration if the file can't be used.
    """
    try:
        with open_regular(path) as file:
            data = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return None
    except NotRegularError as error:
        raise BadConfiguration(f"{path} isn't a plain file: replace it by the file itself") from error
    except NotADirectoryError:
        return None
    except OSError as error:
        raise BadConfiguration(f"{path} can't be read ({error.strerror}): fix its permissions") from error
    if len(data) > _LIMIT:
        raise BadConfiguration(f"{path} has more than {_LIMIT} bytes, which no such file needs: make it smaller")
    import tomllib  # imported here to keep listing fast: mostly there is no such file

    try:
        return Table(path, tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise BadConfiguration(f"{path} isn't TOML ({error}): fix it") from error
