"""Say whether the code that a base's own folder brings may run: only where the user asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_trusted: ContextVar[bool] = ContextVar("remote code is trusted", default=False)


@contextmanager
def trusting_remote_code(trusted: bool) -> Iterator[None]:
    """Let a base's own code run in this block and this thread where `trusted`, also where the block around lets it."""
    token = _trusted.set(trusted or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def is_remote_code_trusted() -> bool:
    """Return whether a base's own code may run here."""
    return _trusted.get()


def remote_code() -> dict[str, Any]:
    """Return the arguments of from_pretrained and from_config that let a base's own code run, or none."""
    return {"trust_remote_code": True} if _trusted.get() else {}


def brings_code_for(config: PretrainedConfig, model: str) -> bool:
    """Return whether a base brings code of its own for an auto class, such as AutoModelForCausalLM, that may run."""
    return _trusted.get() and model in (getattr(config, "auto_map", None) or {})
