"""The local registry served as a Hub: what `ahf serve` runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin.extensions import extensions
from adapterhub_fin_registry import Registry, Version

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from adapterhub_fin_registry.serve.settings import Settings


def hub_application(registry: Registry, state: Path, settings: Settings | None = None) -> Starlette:
    """The server as an ASGI application, with this process's vetoes; `state` is a folder of this server's own."""
    from adapterhub_fin_registry.serve.application import application
    from adapterhub_fin_registry.serve.push import Door
    from adapterhub_fin_registry.serve.state import State

    return application(registry, State(state), Door(lambda: extensions().vetoes(), _take_in), settings)


def _take_in(folder: Path, name: str, registry: Registry) -> Version:
    from adapterhub_fin.engine.importing import import_folder

    return import_folder(folder, name, registry=registry).version
