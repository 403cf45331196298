"""Hold the settings of an inference server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adapterhub_fin.engine.pool.serving_settings import ServingSettings


@dataclass(frozen=True)
class InferenceSettings:
    """Hold the settings of a server: who may ask, how long a request may be and may take, and how rows are collected.

    Without `token_file` whoever reaches the address may ask. `max_body` is in bytes and `timeout` in seconds.
    """

    token_file: Path | None = None
    max_body: int = 4 * 2**20
    timeout: float = 60.0
    serving: ServingSettings = field(default_factory=ServingSettings)
