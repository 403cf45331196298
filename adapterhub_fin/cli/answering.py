"""Load the version that a command needs, after checking that its head supports the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry import Version


def load_to_answer(
    command: str,
    reference: str,
    *,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    base: str | None,
    download: bool,
    fold: bool,
    check: Callable[[Version], object] = lambda version: None,
) -> Adapter:
    """Return the loaded adapter, or refuse before torch is imported if its head doesn't support the command.

    `check` looks at the version before that too. Raises BadRecipe for a version whose head doesn't support `command`,
    and what `check` and `load` raise.
    """
    from adapterhub_fin.registries import located

    location = located(reference, None, as_of, include_base, lock)
    _check_head(location.version, command)
    check(location.version)
    from adapterhub_fin import load

    return load(location.version, base=base, registry=location.registry, download=download, fold=fold)


def _check_head(version: Version, command: str) -> None:
    from adapterhub_fin.engine.base.stored_base import check_is_adapter
    from adapterhub_fin.errors import BadRecipe
    from adapterhub_fin.plugin.descriptions import Head
    from adapterhub_fin.plugin.manager import extensions

    check_is_adapter(version)
    head, heads = version.manifest.head, extensions().all(Head)
    if head is None and command == "predict":
        raise BadRecipe(f"{version.reference} has no head to predict with; use embed")
    generates = head is not None and (
        head.name not in heads or heads[head.name].generates or heads[head.name].task == "CAUSAL_LM"
    )
    if command == "generate" and not generates:
        raise BadRecipe(f"{version.reference} can't generate text: its head is no language model; use predict")
