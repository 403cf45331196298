"""Lock what the threads of one process share: models, the building of models, random numbers and tokenizers.

An answer switches the adapters and the mode of a model that others may share, so it locks that model. Transformers and
PEFT build a model by changing global state (torch's default dtype and initialisers, `PreTrainedModel.tie_weights`) and
by drawing values that are overwritten, so nothing computes or draws meanwhile. To avoid deadlock, locks are taken in
this order: draws, gate, model, tokenizer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, RLock, get_ident
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import Refused
from adapterhub_fin.plugin.model_parts import backbone

if TYPE_CHECKING:
    import torch
    from torch import nn
else:
    torch = Lazy("torch")

BROKEN = (
    "this process was forked while another thread of its parent was {}, so that what it inherited may be half changed: "
    "load the model after the fork, or fork before other threads start"
)
ON_GPU = "this model was put on a GPU before this process was forked, which CUDA does not survive: load it after"


class _Gate:
    """Let many threads compute, or one thread build a model; a reentrant readers-writer lock."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._computing: Counter[int] = Counter()  # by thread: how many times it has entered `shared`
        self._builder: int | None = None
        self._depth = 0
        self._waiting = 0  # threads that want to build, which go before new ones that want to compute

    @contextmanager
    def shared(self) -> Iterator[None]:
        me = get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self.is_mine() or (self._builder is None and not self._waiting))
            self._computing[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._computing[me] -= 1
                self._computing += Counter()  # removes the zeros
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        me = get_ident()
        with self._changed:
            if self._builder != me:
                self._wait_for_all(me)
            self._depth += 1
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                self._builder = me if self._depth else None
                self._changed.notify_all()

    def _wait_for_all(self, me: int) -> None:
        if self.is_mine():
            raise Refused("this thread is inside answering(), where it can't load a model: leave answering() first")
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: self._builder is None and not self._computing)
            self._builder = me
        finally:
            self._waiting -= 1
            self._changed.notify_all()

    def is_mine(self) -> bool:
        """Return whether this thread computes or builds."""
        me = get_ident()
        return me == self._builder or me in self._computing

    def after_fork(self) -> bool:
        """Forget the threads that don't exist in this child process; return whether one of them was building."""
        me = get_ident()
        broken = self._builder not in (None, me)
        self._changed, self._waiting = Condition(), 0
        self._computing = +Counter({me: self._computing[me]})
        if broken:
            self._builder, self._depth = None, 0
        return broken


_gate = _Gate()
_guard, _draws, _tokenizer = RLock(), RLock(), RLock()
_drawer: int | None = None  # the thread that draws
_models: WeakKeyDictionary[nn.Module, RLock | str] = WeakKeyDictionary()  # by backbone: its lock, or why it is unusable
_broken: str | None = None  # why this process can't compute at all
_forked = False  # this process was forked and has not computed since


@contextmanager
def computing(model: nn.Module) -> Iterator[None]:
    """Lock a model, and all that shares its backbone, while this thread computes with it.

    Raises Refused in a process that was forked while another thread was computing, loading or tokenizing.
    """
    _check_process()
    with _gate.shared(), lock_of(model):
        yield


@contextmanager
def computing_together() -> Iterator[None]:
    """Compute with a model that nothing switches, beside other threads that do so; no model is built meanwhile.

    Raises Refused in a process that was forked while another thread was loading or tokenizing.
    """
    _check_process()
    with _gate.shared():
        yield


@contextmanager
def building() -> Iterator[None]:
    """Stop all other threads from computing, building and drawing while this one loads or changes a model.

    Raises Refused if this thread is computing with a model, or in a process that was forked at a bad moment.
    """
    _check_process()
    with drawing(), _gate.alone():
        yield


@contextmanager
def on_meta() -> Iterator[None]:
    """Create modules on the meta device, without values. Raises Refused as `building` does."""
    with building(), torch.device("meta"):
        yield


@contextmanager
def drawing() -> Iterator[None]:
    """Lock torch's random generator, which a process has one of: for a sampled text, a load, or a whole training run.

    Raises Refused if this thread has locked a model already, since the thread that draws may be waiting for it.
    """
    global _drawer
    me = get_ident()
    if _gate.is_mine() and _drawer != me:
        raise Refused(
            "this thread is inside answering(), where it can't load, train or sample: leave answering() first"
        )
    with _draws:
        before, _drawer = _drawer, me
        try:
            yield
        finally:
            _drawer = before


@contextmanager
def tokenizing() -> Iterator[None]:
    """Lock tokenizers: a fast one stores the truncation length as state, which its copies share.

    Raises Refused in a process that was forked at a bad moment.
    """
    _check_process()
    with _gate.shared(), _tokenizer:
        yield


def is_mine() -> bool:
    """Return whether this thread computes, builds or draws; then it must not wait for another thread that wants to."""
    return _gate.is_mine() or _drawer == get_ident()


def lock_of(model: nn.Module) -> RLock:
    """Return the lock of all that shares a model's backbone. Raises Refused if a fork made the model unusable."""
    with _guard:
        lock = _models.setdefault(backbone(model), RLock())
    if isinstance(lock, str):
        raise Refused(lock)
    return lock


def _check_process() -> None:
    """Run OpenMP and tokenizers in one thread after a fork: the threads they would wait for are the parent's."""
    global _forked
    if _broken:
        raise Refused(_broken)
    if _forked:
        torch.set_num_threads(1)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _forked = False


def _after_fork() -> None:
    global _broken, _forked, _guard, _draws, _drawer, _tokenizer
    _forked, _guard = True, RLock()
    building_elsewhere, tokenizing_elsewhere = _gate.after_fork(), _is_lost(_tokenizer)
    if _is_lost(_draws):
        _draws, _drawer = RLock(), None
    _tokenizer = RLock() if tokenizing_elsewhere else _tokenizer
    if building_elsewhere or tokenizing_elsewhere:
        _broken = BROKEN.format("loading a model" if building_elsewhere else "reading texts")
    for core, lock in list(_models.items()):
        if not isinstance(lock, str) and _is_lost(lock):
            _models[core] = BROKEN.format("answering with this model")
        elif any(parameter.is_cuda for parameter in core.parameters()):
            _models[core] = ON_GPU


def _is_lost(lock: RLock) -> bool:
    """Return whether a lock is held by a thread that this process doesn't have."""
    if not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
