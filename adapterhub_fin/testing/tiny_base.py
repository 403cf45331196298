"""Make the recipe of a base that trains in a second, on made-up text with a date a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2010, 1, 1, 12, tzinfo=UTC)
DECODER = {"new": "llama", "layers": 1, "width": 16, "heads": 2, "tokenizer": {"train": 300}}
ENCODER = {"new": "modernbert", "layers": 2, "width": 16, "heads": 2, "tokenizer": {"train": 300}}


def dated_rows(days: int = 240) -> list[dict[str, Any]]:
    """Return one sentence for each day from `START` on, as a corpus in memory takes them."""
    return [{"text": _text(day), "available_at": (START + timedelta(days=day)).isoformat()} for day in range(days)]


def _text(day: int) -> str:
    return (
        f"In the {('first', 'second', 'third', 'last')[day % 4]} quarter of {1990 + day % 30} the rate of bond "
        f"{day * 17 % 97} rose by {day * 7 % 13} basis points, and the committee {'raised' if day % 3 else 'held'} its "
        "target."
    )


def base_recipe(**changed: Any) -> dict[str, Any]:
    """Return the recipe of a tiny llama until the 181st day, with some keys changed; those of training one by one."""
    training = {"max_steps": 6, "block": 32, "batch_size": 4, "learning_rate": 3e-3, "validation": 0.1}
    return {
        "name": "acme/fin",
        "base": DECODER,
        "corpus": {"data": dated_rows(), "available_at": "available_at"},
        "until": "2010-06-30",
        "training": {**training, **changed.pop("training", {})},
        **changed,
    }


def stored_weights(folder: Path) -> dict[str, Any]:
    """Return the tensors of a base's folder, by name."""
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    return weights
