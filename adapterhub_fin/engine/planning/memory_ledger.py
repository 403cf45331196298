"""Count what a computation holds, moves and multiplies, tensor by tensor, as PyTorch dispatches it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_counting: Any = flop_counter  # untyped, as its library is


@dataclass(frozen=True)
class Work:
    """One operation: multiplications and additions, and bytes read and written."""

    flops: int
    moved: int


class MemoryTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's own has no types
    """Every storage from its first tensor to its last, in order, and every operation's work.

    Works on fake tensors, whose lives are those of real ones. What depends on values is answered as if they were ones.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work: list[Work] = []
        self._events: list[tuple[int, int]] = []  # (storage's number, bytes), and (number, -bytes) at its end
        self._live: dict[int, tuple[weakref.ref[Any], int]] = {}  # by id: the storage and its number
        self._labels: dict[int, str] = {}
        self._numbers = 0

    def hold(self, tensors: Iterable[Tensor], label: str) -> None:
        """Enter tensors that exist, under a label; one that has a label keeps it."""
        for tensor in tensors:
            self._labels.setdefault(self._enter(tensor), label)

    def label_rest(self, label: str) -> None:
        """Label all that is alive now and has no label."""
        for _, number in self._live.values():
            self._labels.setdefault(number, label)

    def live(self, label: str) -> int:
        """Bytes alive now under a label."""
        return sum(size for found, size in self._blocks(len(self._events)) if found == label)

    @property
    def now(self) -> int:
        """A place in time, to count from."""
        return len(self._events)

    def fullest(self, since: int) -> list[tuple[str, int]]:
        """Label and bytes of every storage at the fullest moment from a place in time to now; no label is ''."""
        size = most = sum(change for _, change in self._events[:since])
        place = since
        for at, (_, change) in enumerate(self._events[since:], since + 1):
            size += change
            if size > most:
                most, place = size, at
        return self._blocks(place)

    def _blocks(self, stop: int) -> list[tuple[str, int]]:
        alive: dict[int, int] = {}
        for number, change in self._events[:stop]:
            if change < 0:
                alive.pop(number, None)
            else:
                alive[number] = change
        return [(self._labels.get(number, ""), size) for number, size in alive.items()]

    def _enter(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        known = self._live.get(id(storage))
        if known is not None and known[0]() is storage:
            return known[1]
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
        made = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        for each in made:
            self._enter(each)
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        moved = 0 if func.is_view else sum(each.numel() * each.itemsize for each in (*read, *made))
        self.work.append(Work(_flops(func, args, kwargs, out), moved))
        return out


def _flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
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


_ATTENTION: Mapping[Any, Callable[..., int]] = {  # PyTorch's own table has the GPU's alone
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}
