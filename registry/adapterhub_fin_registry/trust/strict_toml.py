"""TOML that rules depend on: a file that can't be read, or holds an unknown key, is an error and no default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import BadConfiguration
from adapterhub_fin_registry.io.safe_read import NotRegularError, open_regular

_LIMIT: Final = 2**20


@dataclass(frozen=True)
class Table:
    """A table of a file; asking for a key of another type than it must have is BadConfiguration."""

    source: Path
    values: Mapping[str, Any]

    def check_known(self, known: Iterable[str]) -> None:
        """Refuse a key that isn't known: a rule that is misspelt would rule nothing."""
        for key in sorted(self.values.keys() - set(known)):
            near = get_close_matches(key, sorted(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise BadConfiguration(f"{self.source} holds the key {key[:50]!r}, which means nothing there: {hint}")

    def boolean(self, key: str) -> bool:
        """True or false; false where the key is missing."""
        return bool(self._typed(key, bool, "true or false"))

    def text(self, key: str) -> str | None:
        """A text that isn't empty; None where the key is missing."""
        value = self._typed(key, str, "a text")
        if value == "":
            raise self._wrong(key, "a text that isn't empty")
        return None if value is None else str(value)

    def size(self, key: str) -> int | None:
        """A number of bytes; None where the key is missing."""
        value = self._typed(key, int, "a number of bytes, such as 200_000_000")
        if value is not None and value < 0:
            raise self._wrong(key, "a number of bytes, such as 200_000_000")
        return None if value is None else int(value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts; None where the key is missing, which isn't the empty list."""
        value = self._typed(key, list, 'a list of texts, such as ["mit", "apache-*"]')
        if value is not None and not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, 'a list of texts, such as ["mit", "apache-*"]')
        return None if value is None else tuple(value)

    def texts_by_name(self, key: str) -> dict[str, str]:
        """A table of texts; empty where the key is missing."""
        value = self._typed(key, dict, 'a table of texts, such as {desk = "desk.pub"}') or {}
        if not all(isinstance(item, str) and item for item in value.values()):
            raise self._wrong(key, 'a table of texts, such as {desk = "desk.pub"}')
        return dict(value)

    def table(self, key: str) -> Table:
        """A table within; an empty one where the key is missing."""
        return Table(self.source, self._typed(key, dict, f"a table, [{key}]") or {})

    def tables(self, key: str) -> list[Table]:
        """A list of tables; empty where the key is missing."""
        value = self._typed(key, list, f"a list of tables, [[{key}]]") or []
        if not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, f"a list of tables, [[{key}]]")
        return [Table(self.source, item) for item in value]

    def _typed(self, key: str, kind: type, wanted: str) -> Any:
        value = self.values.get(key)
        if value is not None and type(value) is not kind:  # TOML's true is an int to isinstance
            raise self._wrong(key, wanted)
        return value

    def _wrong(self, key: str, wanted: str) -> BadConfiguration:
        return BadConfiguration(f"{key} in {self.source} must be {wanted}: mend it")


def read_toml(path: Path) -> Table | None:
    """The table that a file holds; None where there is no such file, and BadConfiguration where it can't be used."""
    try:
        with open_regular(path) as file:
            data = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return None
    except NotRegularError as error:
        raise BadConfiguration(f"{path} isn't a plain file: put the file itself in its place") from error
    except NotADirectoryError:
        return None
    except OSError as error:
        raise BadConfiguration(f"{path} can't be read ({error.strerror}): mend its permissions") from error
    if len(data) > _LIMIT:
        raise BadConfiguration(f"{path} has more than {_LIMIT} bytes, which no such file needs: make it smaller")
    import tomllib  # here, for listing must stay light and mostly finds no such file

    try:
        return Table(path, tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise BadConfiguration(f"{path} isn't TOML ({error}): mend it") from error
