"""Keep the other adapters of a model out of the way while one of them is loaded, switched to or answers.

PEFT walks every module of a model in each of its functions, those of the other adapters too, so that each load and each
switch takes the longer the more adapters are on the model (peft issue 981).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.plugin.model_parts import backbone

if TYPE_CHECKING:
    from torch import nn
else:
    nn = Lazy("torch.nn")

ADAPTERS = "_ahf_adapters"  # the backbone's attribute in which a load records each adapter and its method
TABLES = ("_modules", "_parameters", "_buffers", "_keys")  # where containers hold what is keyed by adapters


@contextmanager
def hidden(model: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Take adapters out of a model's containers for one block, and put them back with what was added meanwhile.

    Only for a thread that has locked the model. A module that had one of them active has none active afterwards, unless
    the block activates another there or raises.
    """
    if not names:
        yield
        return
    tables: list[tuple[dict[str, Any], str, dict[str, Any]]] = []
    active: list[tuple[Any, Any]] = []
    try:
        _hide(model, frozenset(names), tables, active)
        yield
    except BaseException:
        for module, before in active:
            module._active_adapter = before
        raise
    finally:
        for owner, attribute, before in tables:
            owner[attribute] = {**before, **owner[attribute]}  # a new dict: a thread may be iterating over one of them


def _hide(model: nn.Module, names: frozenset[str], tables: list[Any], active: list[Any]) -> None:
    from peft.utils.other import AuxiliaryTrainingWrapper

    containers = _containers()
    for module in _walk(model, names):
        if isinstance(module, containers):
            owner = module.__dict__
            for attribute in TABLES:
                if (table := owner.get(attribute)) and not names.isdisjoint(table):
                    tables.append((owner, attribute, table))
                    left = table.keys() - names
                    owner[attribute] = {key: table[key] for key in (sorted(left) if len(left) > 1 else left)}
        elif isinstance(module, AuxiliaryTrainingWrapper) and not names.isdisjoint(module.active_adapters):
            active.append((module, module._active_adapter))
            module._active_adapter = []  # PEFT looks an active adapter up without asking whether it is there


@contextmanager
def only(model: nn.Module, adapter_name: str) -> Iterator[None]:
    """Take all other adapters that were loaded onto a model out of it, as `hidden` does."""
    with hidden(model, loaded_adapters(model) - {adapter_name}):
        yield


def loaded_adapters(model: nn.Module) -> frozenset[str]:
    """Return the names of the adapters that were loaded onto what shares a model's backbone."""
    return frozenset(backbone(model).__dict__.get(ADAPTERS, ()))


def own_modules(model: nn.Module, adapter_name: str) -> Iterator[nn.Module]:
    """Yield the modules that take part in an adapter's answers, each once: all but those of the other adapters."""
    return _walk(model, loaded_adapters(model) - {adapter_name}, adapter_name)


def _walk(model: nn.Module, others: frozenset[str], own: str | None = None) -> Iterator[nn.Module]:
    seen, stack = {id(model)}, [model]
    while stack:
        module = stack.pop()
        yield module
        children = module._modules  # read after the yield, which may have hidden some
        for name in (own,) if own in children else tuple(children):
            child = children.get(name)
            if child is not None and id(child) not in seen and name not in others:
                seen.add(id(child))
                stack.append(child)


def _containers() -> tuple[type[nn.Module], ...]:
    from peft.tuners._buffer_dict import BufferDict

    return (nn.ModuleDict, nn.ParameterDict, BufferDict)
