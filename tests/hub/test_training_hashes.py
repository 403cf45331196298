"""Hashes of what a version was trained on never leave the registry. (G 4)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from adapterhub_fin_registry.storage.training_hashes import NAME


def test_they_are_neither_listed_nor_served(hub: Any, made: Any, tmp_path: Path) -> None:
    learnt = ["firm rose", "firm fell"]
    version = hub.registry.add(made.files, made.manifest, name="acme/learnt", training_texts=learnt)
    data = (version.folder / NAME).read_bytes()
    assert hub.registry.training_hashes(version).holds("firm rose")
    api = hub.api()
    found = {entry.path for entry in api.list_repo_tree(version.name, recursive=True)}
    assert found and not {path for path in found if NAME in path}
    token = {"Authorization": f"Bearer {hub.secrets['reader']}"}
    for path in (NAME, f"files/../{NAME}", f"..%2f{NAME}", f"%2e%2e/{NAME}", f"files/{NAME}"):
        answer = httpx2.get(f"{hub.url}/{version.name}/resolve/main/{path}", headers=token)
        assert answer.status_code >= 400 and data[:32] not in answer.content
    folder = Path(api.snapshot_download(version.name, cache_dir=tmp_path / "downloads"))
    assert not list(folder.rglob(NAME)) and all(
        data[16:32] not in p.read_bytes() for p in folder.rglob("*") if p.is_file()
    )
