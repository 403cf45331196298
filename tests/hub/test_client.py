"""The Hub's own client against the server, call by call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd


def test_a_thin_line(hub: Any, adapter: Any, tmp_path: Path) -> None:
    api, files = hub.api(), adapter()
    assert api.whoami()["name"] == "writer"
    assert api.create_repo("acme/thin").repo_id == "acme/thin"
    pushed = {**files, "README.md": b"---\nlicense: mit\n---\n# hi\n"}
    operations = [CommitOperationAdd(path, data) for path, data in pushed.items()]
    done = api.create_commit("acme/thin", operations, commit_message="first")
    api.create_tag("acme/thin", tag="v1", revision=done.oid)
    assert api.model_info("acme/thin", revision="v1", files_metadata=True).sha == done.oid
    folder = Path(api.snapshot_download("acme/thin", revision="v1", cache_dir=tmp_path))
    for path, data in pushed.items():
        assert (folder / path).read_bytes() == data
    assert not api.verify_repo_checksums("acme/thin", revision=done.oid, cache_dir=tmp_path).mismatches
