"""Define the options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from adapterhub_fin_registry.remote_index import RemoteIndex

F = TypeVar("F", bound=Callable[..., Any])


class ReferenceType(click.ParamType[str]):
    """Parse a reference such as acme/tone@3; completion suggests those of the local registries."""

    name = "reference"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from adapterhub_fin.registries import RegistryChain

        members = RegistryChain.configured().members
        registries = RegistryChain([m for m in members if not m.registry.is_remote])  # completion queries no Hub
        name, at, _ = incomplete.partition("@")
        if not at:
            return [CompletionItem(other) for other in registries.names() if other.startswith(incomplete)]
        registry = registries.answering(name)
        revisions = [str(version.number) for version in registry.versions(name)] + sorted(registry.aliases(name))
        return [CompletionItem(f"{name}@{rev}") for rev in revisions if f"{name}@{rev}".startswith(incomplete)]


REFERENCE = ReferenceType()


def as_of_options(function: F) -> F:
    """Add --as-of and --ignore-base: choose by what was knowable on a date."""
    function = click.option(
        "--as-of", metavar="DATE", help="Only versions trained on data from before DATE (00:00 UTC), or 'now'."
    )(function)
    return click.option(
        "--ignore-base",
        "include_base",
        flag_value=False,
        default=True,
        type=bool,
        help="With --as-of: ignore the base's knowledge end.",
    )(function)


def on_option(function: F) -> F:
    """Add --on: read a Hub instead of the registries."""
    return click.option(
        "--on", metavar="hf://[ORG[/NAME]]", help="Read this Hub namespace or repository instead of the registries."
    )(function)


def remote_index(on: str) -> RemoteIndex:
    """Return the index of the versions at a Hub address; publishing is imported only here.

    Raises what `publishing.catalogue` raises, such as BadReference or HubError.
    """
    from adapterhub_fin.publishing import catalogue

    return catalogue(on)


def lock_option(function: F) -> F:
    """Add --lock: resolve references to the versions recorded in a file."""
    return click.option(
        "--lock",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Record in FILE which version the reference resolves to, and use that version from then on.",
    )(function)


def dated_by(as_of: str | None, include_base: bool) -> dict[str, Any]:
    """Return the fields that a point-in-time choice adds to every output: the date, and whether the base counts."""
    return {"as_of": as_of, "include_base": include_base} if as_of else {}


def point_in_time(as_of: str, include_base: bool) -> str:
    """Return how messages name a point-in-time choice."""
    return f"as of {as_of}{'' if include_base else ', without the base'}"


def say_answering(reference: str, as_of: str | None, include_base: bool) -> None:
    """Print on standard error which version answers, with the date that chose it."""
    note = f" ({point_in_time(as_of, include_base)})" if as_of else ""
    click.echo(f"{reference}{note}", err=True)


def trust_option(function: F) -> F:
    """Add --trust-remote-code."""
    return click.option(
        "--trust-remote-code",
        is_flag=True,
        expose_value=False,
        callback=_trust,
        help="Let the base's own Python code run, with your rights.",
    )(function)


def base_options(function: F) -> F:
    """Add --base, --download and --batch-size: how a version is loaded."""
    function = click.option("--base", metavar="FOLDER|ID", help="The base, if its recorded id doesn't find it.")(
        function
    )
    function = click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")(function)
    function = trust_option(function)
    return click.option(
        "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Texts per forward pass."
    )(function)


def fold_option(function: F) -> F:
    """Add --fold, for commands that answer with one version."""
    return click.option(
        "--fold", is_flag=True, help="Add the adapter to its base's weights, which then answer the same in less time."
    )(function)


def workers_option(function: F) -> F:
    """Add --workers: how many processes answer the rows of a table."""
    return click.option(
        "--workers",
        type=click.IntRange(1),
        help="Of a table: answer its rows in so many processes, one for each core at most; by default in one.",
    )(function)


def _trust(context: click.Context, parameter: click.Parameter, trusted: bool) -> None:
    if trusted:
        from adapterhub_fin.plugin.trusted_code import trusting_remote_code

        context.with_resource(trusting_remote_code(True))


def texts_argument(function: F) -> F:
    """Add TEXTS and --file, which has one text a line; `-` is standard input."""
    function = click.option(
        "--file", "file", type=click.Path(path_type=Path, allow_dash=True), help="One text a line; - is standard input."
    )(function)
    return click.argument("texts", nargs=-1)(function)


def read_texts(texts: Sequence[str], file: Path | None) -> list[str]:
    """Return the checked texts of the command line and of --file.

    Raises UsageError if there is none, and BadText for one that isn't valid text or a file that can't be read.
    """
    from adapterhub_fin.plugin.texts import check_text, lines

    checked = [check_text(text, f"text {number} of the command line") for number, text in enumerate(texts, 1)]
    if file is not None:
        checked += lines(_file_lines(file), str(file))
    if not checked:
        raise click.UsageError("Give a text, or --file FILE with one text a line.")
    return checked


def _file_lines(file: Path) -> list[bytes]:
    from adapterhub_fin.errors import BadText

    try:
        with click.open_file(str(file), "rb") as stream:
            return list(stream)
    except OSError as error:
        raise BadText(f"{file} can't be read ({error.strerror}): give a file with one text a line") from error


def interval_text(ends: Sequence[float] | None) -> str:
    """Return an interval as tables show it, or an empty string if there is none."""
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def reading_options(overrides: Sequence[str]) -> dict[str, Any]:
    """Return how a table is read, of KEY=VALUE. Raises BadRecipe for a wrong key or value."""
    from adapterhub_fin.plugin.overrides import override
    from adapterhub_fin.plugin.reading import TableReading

    return override({}, overrides, TableReading) if overrides else {}
