"""Define `ahf serve`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapterhub_fin.cli.amounts import Duration, Size
from adapterhub_fin.cli.serve_inference import inference
from adapterhub_fin.plugin.console import json_option, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin_registry.hub_server.tokens import Token, Tokens

_TYPED = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT)
F = TypeVar("F", bound=Callable[..., Any])
_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The server's own folder, for tokens and drafts; by default one per registry, in the user's state folder.",
)


_HUB_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on."),
    click.option(
        "--port", type=click.IntRange(0, 65535), default=8780, show_default=True, help="The port; 0 takes a free one."
    ),
    click.option("--public", is_flag=True, help="Allow an address that other machines can reach."),
    click.option("--anonymous-read", is_flag=True, help="Let clients without a token read public repositories."),
    click.option("--public-repositories", is_flag=True, help="Create repositories as public by default."),
    click.option("--max-upload", type=Size(), default="5GiB", show_default=True, help="The maximum size of one file."),
    click.option(
        "--max-regular",
        type=Size(),
        default="512MiB",
        show_default=True,
        help="Larger files are uploaded by LFS, without Xet.",
    ),
    click.option("--url", metavar="URL", help="The server's own URL, if it is behind a proxy."),
    click.option(
        "--namespace-quota", type=Size(), help="The maximum bytes per namespace: versions, drafts and uploads."
    ),
    click.option("--token-quota", type=Size(), help="The maximum bytes stored per token."),
    click.option(
        "--keep-uploads",
        type=Duration(),
        default="1d",
        show_default=True,
        help="The age at which an upload without a commit is removed.",
    ),
    click.option("--rate", type=click.IntRange(min=1), help="The maximum requests per minute and token."),
    click.option(
        "--anonymous-rate",
        type=click.IntRange(min=1),
        help="The maximum requests per minute and address without a token.",
    ),
    click.option("--read-only", is_flag=True, help="Refuse every change."),
    _STATE,
)


def _with_hub_options(function: F) -> F:
    """Add the options of a Hub server."""
    for option in reversed(_HUB_OPTIONS):
        function = option(function)
    return function


@click.group("serve", invoke_without_command=True)
@_with_hub_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Serve the registry as a Hub, for any Hub client.

    `ahf serve` alone is `ahf serve hub`; `ahf serve inference` answers with adapters. Clients set HF_ENDPOINT to the
    URL and HF_TOKEN to a token from `ahf serve token add`. Requests are logged to standard error as JSON lines.

    \b
    Examples:
      ahf serve token add desk --write
      ahf serve token list
      ahf serve --port 8780
      ahf serve read-only on
      ahf serve inference --base minilm
    """
    if context.invoked_subcommand is None:
        _serve_hub(**options)
    else:
        _refuse_options_before(context)


def _refuse_options_before(context: click.Context) -> None:
    """Raise UsageError for options of `ahf serve` that stand before a subcommand, which has its own."""
    given = [each for each in context.command.params if context.get_parameter_source(str(each.name)) in _TYPED]
    if given:
        option, name = given[0].opts[0], context.invoked_subcommand
        raise click.UsageError(f"{option} stands before {name}: write it after it, as in ahf serve {name} {option}")


@command.command("hub")
@_with_hub_options
def hub(**options: Any) -> None:
    """Serve the registry as a Hub, for any Hub client.

    Each version is a tag, and main is the newest version. Clients set HF_ENDPOINT to the URL and HF_TOKEN to a token
    from `ahf serve token add`. Requests are logged to standard error as JSON lines.

    \b
    Examples:
      ahf serve token add desk --write
      ahf serve token add build --write --namespace acme --expires 90d
      ahf serve token list
      ahf serve hub --port 8780
      ahf serve hub --url https://hub.example --max-upload 2GB
      ahf serve hub --namespace-quota 200GB --token-quota 50GB --keep-uploads 12h
      ahf serve hub --rate 600 --anonymous-read --anonymous-rate 60
      ahf serve hub --read-only
      ahf serve read-only on
      ahf serve read-only off
    """
    _serve_hub(**options)


def _serve_hub(
    *,
    host: str,
    port: int,
    public: bool,
    anonymous_read: bool,
    public_repositories: bool,
    max_upload: int,
    max_regular: int,
    url: str | None,
    namespace_quota: int | None,
    token_quota: int | None,
    keep_uploads: timedelta,
    rate: int | None,
    anonymous_rate: int | None,
    read_only: bool,
    state: Path | None,
) -> None:
    from adapterhub_fin.http_process import check_installed
    from adapterhub_fin.serve import serve

    check_installed()
    from adapterhub_fin_registry.hub_server.settings import Settings

    settings = Settings(
        anonymous_read=anonymous_read,
        private=not public_repositories,
        regular_limit=min(max_regular, max_upload),
        upload_limit=max_upload,
        url=url,
        namespace_quota=namespace_quota,
        token_quota=token_quota,
        upload_age=keep_uploads.total_seconds(),
        rate=rate,
        anonymous_rate=anonymous_rate,
        read_only=read_only,
    )

    def ready(address: str) -> None:
        click.echo(f"serving at {address}: set HF_ENDPOINT={address} for clients", err=True)

    serve(host=host, port=port, state=state, public_address=public, settings=settings, ready=ready)


command.add_command(inference)


@command.command("read-only")
@click.argument("switch", type=click.Choice(["on", "off"]))
@_STATE
def read_only_(switch: str, state: Path | None) -> None:
    """Make a running server refuse every change, or accept changes again.

    Changes that are in progress still finish. The setting `on` also applies after a restart.

    \b
    Examples:
      ahf serve read-only on
      ahf serve read-only off
    """
    from adapterhub_fin_registry.hub_server.repo.state import State

    State(_folder(state)).set_read_only(switch == "on")
    click.echo("the server refuses every change" if switch == "on" else "the server accepts changes", err=True)


@command.group("token")
def token() -> None:
    """Create, list and revoke tokens.

    \b
    Examples:
      ahf serve token add desk --write --namespace acme
      ahf serve token add audit --expires 2027-01-31
      ahf serve token list --json
      ahf serve token revoke desk
    """


@token.command("add")
@click.argument("name")
@click.option("--write", is_flag=True, help="Allow it to push, tag and delete too.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAMESPACE",
    help="Allow it only this namespace; may be repeated.",
)
@click.option(
    "--expires",
    type=Duration(),
    help="How long it is valid: 90d, 12h, or until a day such as 2027-01-31; by default always.",
)
@_STATE
@json_option
def add(
    name: str, write: bool, namespaces: tuple[str, ...], expires: timedelta | None, state: Path | None, as_json: bool
) -> None:
    """Create a token and print it. It can't be shown again: only its hash is stored.

    \b
    Examples:
      ahf serve token add desk --write
      ahf serve token add research --namespace acme --json
      ahf serve token add build --write --namespace acme --expires 90d
    """
    secret = _tokens(state).add(name, "write" if write else "read", namespaces, expires)
    if as_json:
        print_json({"name": name, "rights": "write" if write else "read", "token": secret})
    else:
        click.echo(secret)


@token.command("list")
@_STATE
@json_option
def list_(state: Path | None, as_json: bool) -> None:
    """List the tokens by name, with the minute of their last use.

    \b
    Examples:
      ahf serve token list
    """
    tokens = _tokens(state).all()
    if as_json:
        print_json([_facts(token) for token in tokens])
    else:
        columns = ("name", "rights", "namespaces", "since", "expires", "last used")
        rows = [(t.name, t.rights, ", ".join(t.namespaces) or "all", *_times(t)) for t in tokens]
        print_table(columns, rows)


@token.command("revoke")
@click.argument("name")
@_STATE
def revoke(name: str, state: Path | None) -> None:
    """Revoke a token, with immediate effect on a running server.

    \b
    Examples:
      ahf serve token revoke desk
    """
    _tokens(state).revoke(name)
    click.echo(f"the token {name} is revoked", err=True)


def _facts(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "rights": token.rights,
        "namespaces": list(token.namespaces),
        "created_at": token.created_at,
        "expires_at": token.expires_at or None,
        "expired": token.is_expired,
        "last_used_at": token.last_used_at or None,
    }


def _times(token: Token) -> tuple[str, str, str]:
    expires = f"{token.expires_at} (expired)" if token.is_expired else token.expires_at or "never"
    return token.created_at, expires, token.last_used_at or "never"


def _tokens(state: Path | None) -> Tokens:
    folder = _folder(state)
    from adapterhub_fin_registry.hub_server.tokens import Tokens

    return Tokens(folder)


def _folder(state: Path | None) -> Path:
    from adapterhub_fin.http_process import check_installed
    from adapterhub_fin.serve import state_folder
    from adapterhub_fin_registry import RegistryChain

    check_installed()
    return state_folder(RegistryChain.configured().writable(), state)
