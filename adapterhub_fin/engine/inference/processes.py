"""Answer the rows of tables in several processes; the base's file is mapped once for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import numpy as np

from adapterhub_fin.errors import BadRecipe, Corrupted, Refused, WrongBase
from adapterhub_fin.plugin.model_parts import unwrapped
from adapterhub_fin_registry import Registry, Version

if TYPE_CHECKING:
    from torch import nn

SLICES: Final = 4  # of a call's rows for each process, so that none waits long for the last one


class LoadedAdapter(Protocol):
    """Define what processes need of a loaded adapter."""

    @property
    def version(self) -> Version: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def reference(self) -> str: ...


@dataclass(frozen=True)
class _StoredAt:
    """Say where a version is, in what a process can be sent."""

    root: Path
    folder: Path
    name: str
    number: int
    digest: str

    @classmethod
    def of(cls, version: Version) -> _StoredAt:
        return cls(version.folder.parents[4], version.folder, version.name, version.number, version.digest)

    def read(self) -> Version:
        """Return the version. Raises Corrupted where another stands there by now."""
        version = Version.read(self.name, self.number, self.folder)
        if version is None or version.digest != self.digest:
            raise Corrupted(f"{self.name}@{self.number} was deleted or replaced while its rows were answered")
        return version


class AnswerProcesses:
    """Answer rows in several processes; use it as a context, which ends them."""

    def __init__(self, base: Path, workers: int) -> None:
        if workers < 1:
            raise BadRecipe(f"workers={workers} isn't a number of processes: give 1 or more")
        self._base, self.workers = base, workers
        self._executor = ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(str(base), max(1, len(os.sched_getaffinity(0)) // workers)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:  # one that doesn't end by itself would be waited for without end
            for process in list((self._executor._processes or {}).values()):
                process.kill()
        self._executor.shutdown(cancel_futures=True)

    def predict(self, version: Version, rows: Sequence[Any], batch_size: int) -> list[Any]:
        """Return one typed answer for each row, in the order given. Raises what `Adapter.predict` raises."""
        parts = self._spread("predict", version, rows, batch_size, {})
        return [answer for part in parts for answer in part]

    def embed(self, version: Version, rows: Sequence[Any], batch_size: int, options: Mapping[str, Any]) -> np.ndarray:
        """Return a vector for each row, (rows, hidden) float32. Raises what `Adapter.embed` raises."""
        parts = self._spread("embed", version, rows, batch_size, options)
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _spread(
        self, call: str, version: Version, rows: Sequence[Any], batch_size: int, options: Mapping[str, Any]
    ) -> list[Any]:
        size = max(batch_size, -(-len(rows) // (self.workers * SLICES)))
        where, futures = _StoredAt.of(version), list[Future[Any]]()
        try:
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                futures.append(self._submit(call, where, part, batch_size, dict(options)))
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise Refused(
                "a process that answered rows was killed, most likely for lack of memory: give fewer workers"
            ) from error
        finally:
            for future in futures:
                future.cancel()

    def _submit(self, *task: Any) -> Future[Any]:
        try:
            return self._executor.submit(_answer, *task)
        except OSError as error:  # its pipes are closed already, while it notices that a process has died
            raise BrokenProcessPool(str(error)) from error


@dataclass(frozen=True)
class SpreadAdapter:
    """Answer as an adapter does, with the rows spread over processes."""

    adapter: LoadedAdapter
    processes: AnswerProcesses

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    def predict(self, rows: Any, batch_size: int = 32) -> list[Any]:
        """Return one typed answer for each row, in the order given, as `Adapter.predict` does."""
        return self.processes.predict(self.adapter.version, list(rows), batch_size)

    def embed(self, rows: Any, batch_size: int = 32, **options: Any) -> np.ndarray:
        """Return a vector for each row, (rows, hidden) float32, as `Adapter.embed` does."""
        return self.processes.embed(self.adapter.version, list(rows), batch_size, options)


@contextmanager
def spread(adapters: Iterable[LoadedAdapter], workers: int) -> Iterator[list[Any]]:
    """Yield adapters whose rows are answered in so many processes, one set for each base; with one, as they are.

    Raises Refused for an adapter whose base is in memory alone, and BadRecipe for no process.
    """
    if workers == 1:
        yield list(adapters)
        return
    with ExitStack() as stack:
        by_base: dict[Path, AnswerProcesses] = {}
        wrapped: list[Any] = []
        for adapter in adapters:
            folder = base_folder(adapter)
            if folder not in by_base:
                by_base[folder] = stack.enter_context(AnswerProcesses(folder, workers))
            wrapped.append(SpreadAdapter(adapter, by_base[folder]))
        yield wrapped


def base_folder(adapter: LoadedAdapter) -> Path:
    """Return the folder of a loaded adapter's base. Raises Refused for a base that was in memory alone."""
    config: Any = getattr(unwrapped(adapter.model), "config", None)
    folder = Path(str(getattr(config, "name_or_path", "")))
    if not (folder / "config.json").is_file():
        raise Refused(
            f"{adapter.reference} is on a base that other processes can't read: load it with base=FOLDER, or give "
            "workers=1"
        )
    return folder


# In a process of its own

_base = ""
_adapters: dict[str, Any] = {}  # by digest


def _start(base: str, threads: int) -> None:
    """Prepare a process; what it needs is loaded with its first rows."""
    global _base
    import torch

    torch.set_num_threads(threads)
    _base = base


def _answer(call: str, where: _StoredAt, rows: Sequence[Any], batch_size: int, options: Mapping[str, Any]) -> Any:
    """Return the answers of rows: a list, or an array (rows, hidden)."""
    adapter = _adapters.get(where.digest) or _adapters.setdefault(where.digest, _loaded(where))
    return getattr(adapter, call)(rows, batch_size, **options)


def _loaded(where: _StoredAt) -> Any:
    """Load a version, onto the base of one that is here already where that is its base too."""
    from adapterhub_fin import load

    version, registry = where.read(), Registry(where.root)
    for other in _adapters.values():
        with suppress(WrongBase):
            return load(version, base=other.model, registry=registry)
    return load(version, base=_base, registry=registry)
