"""ahf serve"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterhub_fin.cli.options import json_option, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin_registry.serve.tokens import Tokens

_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The server's own folder, for tokens and drafts; else one of the user's, by registry.",
)
_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


class Size(click.ParamType[int]):
    """A number of bytes, such as 512MB."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = value.strip().upper()
        unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
        number = text.removesuffix(unit).strip()
        if not (number.isascii() and number.isdigit() and len(number) < 16 and int(number)):
            self.fail(f"{value!r} isn't a size: write bytes, or 512MB, or 2GB.", param, ctx)
        return int(number) * _UNITS.get(unit, 1)


@click.group("serve", invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8780, show_default=True, help="0 takes a free one.")
@click.option("--public", is_flag=True, help="Allow an address that other machines reach.")
@click.option("--anonymous-read", is_flag=True, help="Show what is public to those without a token.")
@click.option("--public-repositories", is_flag=True, help="Make a repository public unless its maker says otherwise.")
@click.option("--max-upload", type=Size(), default="5GB", show_default=True, help="The most bytes of one file.")
@click.option(
    "--max-regular", type=Size(), default="512MB", show_default=True, help="Above it, a file goes by LFS, without Xet."
)
@click.option("--url", metavar="URL", help="The server's own URL, where a proxy stands before it.")
@_STATE
@click.pass_context
def command(
    context: click.Context,
    host: str,
    port: int,
    public: bool,
    anonymous_read: bool,
    public_repositories: bool,
    max_upload: int,
    max_regular: int,
    url: str | None,
    state: Path | None,
) -> None:
    """Serve the registry as a Hub, to the clients of any.

    Versions are tags, and main is the newest of them. Clients set HF_ENDPOINT to the URL and HF_TOKEN to a token, which
    `ahf serve token add` makes. Requests are written to standard error as lines of JSON.

    \b
    Examples:
      ahf serve token add desk --write
      ahf serve token list
      ahf serve --port 8780
      ahf serve --url https://hub.example --max-upload 2GB
    """
    if context.invoked_subcommand is not None:
        return
    from adapterhub_fin.hub_server import check_installed, serve

    check_installed()
    from adapterhub_fin_registry.serve.settings import Settings

    settings = Settings(
        anonymous_read=anonymous_read,
        private=not public_repositories,
        regular_limit=min(max_regular, max_upload),
        upload_limit=max_upload,
        url=url,
    )

    def ready(address: str) -> None:
        click.echo(f"serving at {address}: set HF_ENDPOINT={address} for clients", err=True)

    serve(host=host, port=port, state=state, public_address=public, settings=settings, ready=ready)


@command.group("token")
def token() -> None:
    """Make, list and revoke tokens.

    \b
    Examples:
      ahf serve token add desk --write --namespace acme
      ahf serve token list --json
      ahf serve token revoke desk
    """


@token.command("add")
@click.argument("name")
@click.option("--write", is_flag=True, help="It may also push, tag and delete.")
@click.option("--namespace", "namespaces", multiple=True, metavar="NAMESPACE", help="Only this one; may be repeated.")
@_STATE
@json_option
def add(name: str, write: bool, namespaces: tuple[str, ...], state: Path | None, as_json: bool) -> None:
    """Make a token and print it, once: a hash of it is kept.

    \b
    Examples:
      ahf serve token add desk --write
      ahf serve token add research --namespace acme --json
    """
    secret = _tokens(state).add(name, "write" if write else "read", namespaces)
    if as_json:
        print_json({"name": name, "rights": "write" if write else "read", "token": secret})
    else:
        click.echo(secret)


@token.command("list")
@_STATE
@json_option
def list_(state: Path | None, as_json: bool) -> None:
    """List the tokens by their names.

    \b
    Examples:
      ahf serve token list
    """
    found = _tokens(state).all()
    if as_json:
        print_json([{**vars(each), "namespaces": list(each.namespaces)} for each in found])
    else:
        rows = [(each.name, each.rights, ", ".join(each.namespaces) or "all", each.created_at) for each in found]
        print_table(("name", "rights", "namespaces", "since"), rows)


@token.command("revoke")
@click.argument("name")
@_STATE
def revoke(name: str, state: Path | None) -> None:
    """Take a token away, at once also from a server that runs.

    \b
    Examples:
      ahf serve token revoke desk
    """
    _tokens(state).revoke(name)
    click.echo(f"the token {name} is revoked", err=True)


def _tokens(state: Path | None) -> Tokens:
    from adapterhub_fin.hub_server import check_installed, state_folder
    from adapterhub_fin.registries import configured_registries

    check_installed()
    from adapterhub_fin_registry.serve.tokens import Tokens

    return Tokens(state_folder(configured_registries().writable(), state))
