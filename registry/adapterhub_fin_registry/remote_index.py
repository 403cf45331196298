"""Versions that lie in a store, listed and searched by their manifests alone, as those of a registry are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.model.knowledge import as_of_instant, check_include_base
from adapterhub_fin_registry.model.reference import local_name
from adapterhub_fin_registry.registry_reader import AsOf
from adapterhub_fin_registry.storage.name_folder import name_folders

if TYPE_CHECKING:
    from adapterhub_fin_registry.search.page import Page


@dataclass(frozen=True)
class RemoteVersion:
    """A version as a store lists it: `name` is the store's, `changed` when the store says it came, in UTC."""

    name: str
    number: int
    manifest: bytes
    changed: str
    at: Mapping[str, str]  # where it is, in the store's own words: keys that its row gets


class RemoteIndex:
    """Listed versions, of each name and number one."""

    def __init__(self, listed: Iterable[RemoteVersion]) -> None:
        self._listed = {(local_name(each.name, numbered=True), each.number): each for each in listed}

    def rows(self) -> list[dict[str, Any]]:
        """What a list shows, each row with where the version is."""
        with TemporaryDirectory(prefix="ahf-list-") as folder:
            self._write(Path(folder))
            return [self._placed(row) for name_folder in name_folders(Path(folder)) for row in name_folder.rows()]

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """A page of the rows that a query finds; see `Registry.search`."""
        from adapterhub_fin_registry.search.index import Index
        from adapterhub_fin_registry.search.page import Cut, Page, search

        cut = (
            None
            if as_of is None
            else Cut(as_of_instant(as_of), check_include_base(include_base), is_now=as_of == "now")
        )
        with TemporaryDirectory(prefix="ahf-list-") as folder:
            self._write(Path(folder))
            page = search(Index(Path(folder), Path(folder) / "index"), query, limit, after, cut)
        damaged = {self._reference(name): "its manifest can't be read: tell its owner" for name in page.damaged}
        return Page([self._placed(row) for row in page], page.next, damaged)

    def _write(self, root: Path) -> None:
        """Lay the manifests out as in a registry, without any file of theirs: what reads one reads this too."""
        for (name, number), each in self._listed.items():
            folder = root.joinpath("adapters", *name.split("/"), "versions", str(number))
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_bytes(each.manifest)
            record = {"name": name, "version": number, "added_at": each.changed, "added_by": "", "origin": None}
            (folder / "record.json").write_bytes(canonical(record))

    def _placed(self, row: dict[str, Any]) -> dict[str, Any]:
        each = self._listed[row["name"], row["version"]]
        return {**row, "name": each.name, **each.at}

    def _reference(self, kept: str) -> str:
        name, _, number = kept.partition("@")
        return f"{self._listed[name, int(number)].name}@{number}"
