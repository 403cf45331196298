"""Track the memory and the work of a computation, tensor by tensor, as PyTorch dispatches its operations."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import flop_counter

from adapterhub_fin.engine.planning.private_torch import TorchDispatchMode, tree_leaves

_counting: Any = flop_counter  # untyped, as its library is


@dataclass(frozen=True)
class Work:
    """Hold the cost of one operation: floating-point operations, and bytes read and written."""

    flops: int
    moved: int


class MemoryTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's class has no types
    """Record when each storage is allocated and freed, and the work of each operation.

    Fake tensors are freed when real ones would be. Where an operation needs a value, it gets 1.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work: list[Work] = []
        self._events: list[tuple[int, int]] = []  # (storage's number, bytes); (number, -bytes) when it is freed
        self._live: dict[int, tuple[weakref.ref[Any], int]] = {}  # by id: the storage and its number
        self._labels: dict[int, str] = {}
        self._numbers = 0

    def hold(self, tensors: Iterable[Tensor], label: str) -> None:
        """Enter existing tensors under a label; one that has a label keeps it."""
        for tensor in tensors:
            self._labels.setdefault(self._enter(tensor), label)

    def label_rest(self, label: str) -> None:
        """Label all live storages that have no label."""
        for _, number in self._live.values():
            self._labels.setdefault(number, label)

    def live(self, label: str) -> int:
        """Return the bytes now live under a label."""
        return sum(size for block_label, size in self._blocks(len(self._events)) if block_label == label)

    @property
    def now(self) -> int:
        """Return the number of events so far: a moment to count from."""
        return len(self._events)

    def peak(self, since: int) -> list[tuple[str, int]]:
        """Return label and bytes of each storage live at the peak since the moment `since`; '' is no label."""
        size = most = sum(change for _, change in self._events[:since])
        peak_at = since
        for moment, (_, change) in enumerate(self._events[since:], since + 1):
            size += change
            if size > most:
                most, peak_at = size, moment
        return self._blocks(peak_at)

    def _blocks(self, stop: int) -> list[tuple[str, int]]:
        """Return label and bytes of the storages live after the first `stop` events."""
        alive: dict[int, int] = {}
        for number, change in self._events[:stop]:
            if change < 0:
                alive.pop(number, None)
            else:
                alive[number] = change
        return [(self._labels.get(number, ""), size) for number, size in alive.items()]

    def _enter(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        entered = self._live.get(id(storage))
        if entered is not None and entered[0]() is storage:
            return entered[1]
        self._numbers += 1
        key, number, size = id(storage), self._numbers, storage.nbytes()
        self._events.append((number, size))

        def leave(_: Any) -> None:
            self._events.append((number, -size))
            if key in self._live and self._live[key][1] == number:
                del self._live[key]

        self._live[key] = (weakref.ref(storage, leave), number)
        return number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].dtype == torch.bool or (1.0 if args[0].is_floating_point() else 1)
        out = func(*args, **kwargs)
        written = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        for tensor in written:
            self._enter(tensor)
        read = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)]
        moved = 0 if func.is_view else sum(tensor.numel() * tensor.itemsize for tensor in (*read, *written))
        self.work.append(Work(_flops(func, args, kwargs, out), moved))
        return out


def _flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Return the floating-point operations of one dispatched operation; 0 for one without a formula."""
    packet = func._overloadpacket
    count: Callable[..., Any] | None = _ATTENTION.get(packet) or _counting.flop_registry.get(packet)
    if count is None:
        return _four_bit_flops(args) if func.namespace == "bitsandbytes" and "gemm" in func._schema.name else 0
    return int(count(*args, **kwargs, out_val=out))


def _four_bit_flops(args: tuple[Any, ...]) -> int:
    inputs, shape = args[0], args[2]
    return 2 * int(inputs.numel()) * int(shape[0])


def _cpu_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    return int(_counting.sdpa_flop_count(query.shape, key.shape, value.shape))


def _cpu_attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    return int(_counting.sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


_ATTENTION: Mapping[Any, Callable[..., int]] = {  # PyTorch's own table has only the GPU's
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}
