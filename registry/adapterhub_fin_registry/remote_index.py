"""List and search versions in a store by their manifests alone, as a registry does with its own."""

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
from adapterhub_fin_registry.storage.names import name_folders

if TYPE_CHECKING:
    from adapterhub_fin_registry.search.page import Page


@dataclass(frozen=True)
class RemoteVersion:
    """Represent a version as a store lists it.

    `name` is the store's, `changed` is when the version came there by the store's own clock, in UTC.
    """

    name: str
    number: int
    manifest: bytes
    changed: str
    at: Mapping[str, str]  # where the store keeps it: keys that are added to its row


class RemoteIndex:
    """Hold the listed versions of a store, one for each name and number."""

    def __init__(self, listed: Iterable[RemoteVersion]) -> None:
        self._listed = {(local_name(version.name, numbered=True), version.number): version for version in listed}

    def rows(self) -> list[dict[str, Any]]:
        """Return what a list shows, each row with where the version is."""
        with TemporaryDirectory(prefix="ahf-list-") as folder:
            self._write(Path(folder))
            return [self._located(row) for name_folder in name_folders(Path(folder)) for row in name_folder.rows()]

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """Return a page of the rows that a query finds; see `Registry.search`.

        Raises BadQuery, with the column, if the query can't be parsed.
        """
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
        return Page([self._located(row) for row in page], page.next, damaged)

    def _write(self, root: Path) -> None:
        """Write the manifests as a registry lays them out, without files, so that the same code can read them."""
        for (name, number), version in self._listed.items():
            folder = root.joinpath("adapters", *name.split("/"), "versions", str(number))
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_bytes(version.manifest)
            record = {"name": name, "version": number, "added_at": version.changed, "added_by": "", "origin": None}
            (folder / "record.json").write_bytes(canonical(record))

    def _located(self, row: dict[str, Any]) -> dict[str, Any]:
        version = self._listed[row["name"], row["version"]]
        return {**row, "name": version.name, **version.at}

    def _reference(self, local_reference: str) -> str:
        name, _, number = local_reference.partition("@")
        return f"{self._listed[name, int(number)].name}@{number}"
