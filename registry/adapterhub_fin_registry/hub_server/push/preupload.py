"""What a client is told before it sends files: how to send each, which not to, and which is here already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.push.changes import path_limit, path_refusal
from adapterhub_fin_registry.hub_server.repo.tree import Blob
from adapterhub_fin_registry.hub_server.settings import Settings

FILES: Final = 1000
# What trainers leave beside an adapter, and no version holds: the client leaves it out, and says so.
_LEFT_OUT: Final = frozenset(
    {
        *("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", ".gitignore"),
        *(".DS_Store", "Thumbs.db", "desktop.ini"),  # what a desktop's folders hold
    }
)
_LEFT_OUT_STARTS: Final = ("rng_state", "events.out.tfevents")


def answers(said: dict[str, Any], here: Mapping[str, Blob], settings: Settings) -> tuple[list[dict[str, Any]], int]:
    """One answer a file, by those that are here already, and the bytes of those that aren't left out.

    Raises HubError where a file can't be stored.
    """
    files = said.get("files")
    if not isinstance(files, list) or len(files) > FILES:
        raise bad_request(f"a preupload names at most {FILES} files")
    found = [_answer(each, here, settings) for each in files]
    return found, sum(file["size"] for file, answer in zip(files, found, strict=True) if not answer["shouldIgnore"])


def _answer(file: Any, here: Mapping[str, Blob], settings: Settings) -> dict[str, Any]:
    said = file if isinstance(file, dict) else {}
    path, size = body.text(said.get("path"), "path", 2000), said.get("size")
    if type(size) is not int or size < 0:
        raise bad_request("a file's size must be a whole number")
    name = PurePosixPath(path).name
    if name in _LEFT_OUT or name.startswith(_LEFT_OUT_STARTS):
        return {"path": path, "uploadMode": "regular", "shouldIgnore": True}
    if reason := path_refusal(path):
        raise bad_request(f"{path[:200]!r} {reason}, and can't be stored here: leave it out")
    most = min(path_limit(path), settings.upload_limit)
    if size > most:
        raise HubError(413, f"{path} has {size} bytes, and {most} are the most that this server takes")
    mode = "regular" if size <= settings.regular_limit else "lfs"
    answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
    there = here.get(path)
    if mode == "lfs" and there is not None and there.size == size:
        answer["oid"] = there.sha256  # the client sends nothing where it has the same
    return answer
