"""Make command-line options from the fields of an options model, so that both share help and validation."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


class ModelCommand(click.Command):
    """Add the fields of `model()` to a command's options; the model is imported only when the command runs."""

    def __init__(self, *args: Any, model: Callable[[], type[BaseModel]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model = model

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        fields = self.model().model_fields.items()
        declared = super().get_params(ctx)
        from_model = [_option(name, field) for name, field in fields]
        return [*declared[:-1], *from_model, declared[-1]]  # --help stays last


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    shown: dict[str, Any] = {"default": field.default, "show_default": True, "help": field.description}
    if field.annotation is bool:
        return click.Option([flag], is_flag=True, default=field.default, help=field.description)
    if get_origin(field.annotation) is Literal:
        return click.Option([flag], type=click.Choice([str(choice) for choice in get_args(field.annotation)]), **shown)
    kinds = get_args(field.annotation) if get_origin(field.annotation) is UnionType else (field.annotation,)
    return click.Option([flag], type=kinds[0], **shown)  # for `int | None`, a value on the command line is an int
