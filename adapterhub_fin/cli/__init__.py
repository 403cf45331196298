"""The `ahf` command: a verb is parse, one public call, print; its module is imported when it is typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

import click

from adapterhub_fin._version import __version__
from adapterhub_fin.cli.streams import abandon, flush, lossless

GROUP = "adapterhub_fin.verbs"
# What `ahf --help` says of the shipped verbs, so that it imports none of them; a test holds it to their own help.
SUMMARIES = {
    "train": "Train an adapter from a recipe and add it to the registry.",
    "plan": "Estimate a run's parameters, memory and time before anything is loaded.",
    "predict": "Answer texts with an adapter, by its name.",
    "generate": "Write on after prompts with an adapter, by its name.",
    "embed": "Turn texts into vectors with an adapter, by its name.",
    "evaluate": "Measure a version on a corpus and record it.",
    "merge": "Merge adapters of one base into a new version, without the base.",
    "list": "List adapters and their versions.",
    "search": "Find versions by what is known of them.",
    "show": "Show what is known of a version.",
    "sign": "Sign a version, or make a key to sign with.",
    "alias": "Set, move, remove or list aliases.",
    "tag": "Give a version a tag, by which it is found, or take one away.",
    "yank": "Withdraw a version from being chosen; it still answers to its number, aliases and digest.",
    "rm": "Delete one exact version for good; its number is never used again.",
    "diff": "Compare two versions: their manifests, and, tensor by tensor, their weights.",
    "import": "Take in a PEFT folder that another trainer made.",
    "publish": "Put a version on a Hub, under the next free number there.",
    "pull": "Take a version from a Hub into the registry.",
    "export": "Write a version to a plain folder, for PEFT, for vLLM, or folded into its base.",
    "extract": "Make an adapter of a fully fine-tuned model: its difference from its base, at a rank.",
    "check": "Say what a serving engine would refuse of a version.",
    "path": "Print the folder of a version, its files verified.",
    "serve": "Serve the registry as a Hub, to the clients of any.",
    "plugins": "List plugins, what they give, and what is broken.",
    "new-plugin": "Write a plugin package to start from.",
    "verify": "Hash stored versions again and compare.",
    "doctor": "Find and explain what is wrong with the registry, and repair it.",
    "gc": "Remove what dead work and broken-off deletions left behind.",
}
EPILOG = 'Tab completion: eval "$(_AHF_COMPLETE=bash_source ahf)" (or zsh_source, fish_source).'


# Options that were replaced before the first release, with what each is called now.
RETIRED = {"--tier": "--ignore-base", "--part": "--split", "--licence": "--license"}


class Verbs(click.Group):
    """Verbs from entry points, imported one by one; errors are one line on standard error."""

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = self._entries()
        return [name for name in SUMMARIES if name in names] + sorted(set(names) - set(SUMMARIES))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except Exception as error:  # a stranger's verb may fail in any way, and costs itself alone
            owner = entry.dist.name if entry.dist else "an unknown distribution"
            raise click.ClickException(
                f"the verb {cmd_name!r} of {owner} can't be loaded: {error!r}; uninstall it or mend it"
            ) from error
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and not args[0].startswith("-") and args[0] not in self._entries():
            near = get_close_matches(args[0], self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        entries = self._entries()
        shipped = [(name, SUMMARIES[name]) for name in SUMMARIES if name in entries]
        others = [
            (name, f"from {e.dist.name if e.dist else '?'}")
            for name, e in sorted(entries.items())
            if name not in SUMMARIES
        ]
        for title, rows in (("Verbs", shipped), ("Verbs of other packages", others)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.group(
    cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--registry", metavar="NAME", help="Use this one of the configured registries alone.")
@click.version_option(__version__, prog_name="ahf")
@click.pass_context
def group(context: click.Context, debug: bool, registry: str | None) -> None:
    """Train, version, find, load and merge PEFT adapters for finance, by name, without look-ahead."""
    if not debug:
        _hush()
    if registry is not None:
        context.with_resource(_chosen(registry))


@contextmanager
def _chosen(registry: str) -> Iterator[None]:
    """AHF_REGISTRY for the length of one command."""
    import os

    before = os.environ.get("AHF_REGISTRY")
    os.environ["AHF_REGISTRY"] = registry
    try:
        yield
    finally:
        os.environ.pop("AHF_REGISTRY")
        if before is not None:
            os.environ["AHF_REGISTRY"] = before


def _hush() -> None:
    """Keep other libraries' notices off the terminal; errors are raised, and what matters is said by us."""
    import logging
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for library in ("bitsandbytes", "accelerate", "datasets", "torch"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|peft|torch|bitsandbytes|accelerate|datasets)(\.|$)")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `ahf`; exit 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    lossless()
    output = sys.stdout
    if "_AHF_COMPLETE" in os.environ:  # a key was pressed, or the shell asks for its function
        import_module("adapterhub_fin.cli.completion").register()
    try:
        code = group.main(args=_as_text(arguments), prog_name="ahf", standalone_mode=False)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in RETIRED:
            error = click.UsageError(f"{error.option_name} is now {RETIRED[error.option_name]}", error.ctx)
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = 130
    except BrokenPipeError:
        abandon()
        code = 0  # the reader of a pipe has seen enough
    except SystemExit:
        if sys.stdout is output:
            raise
        abandon()  # click has put another in its place, which is its way to tell of the same
        code = 0
    except Exception as error:
        if "--debug" in arguments or not (isinstance(error, OSError) or _is_ours(error)):
            raise
        click.echo(f"ahf: {_sentence(error)}", err=True)
        code = 1
    code = _flushed(code if isinstance(code, int) else 0)
    if os.environ.get("WORLD_SIZE", "1") != "1":  # one of several, as torchrun starts them
        import_module("adapterhub_fin.engine.training.distributed").end(code)
    sys.exit(code)


def _as_text(arguments: list[str]) -> list[str]:
    """The arguments, each a text or the name of a file; BadText where one is neither. Nothing is imported for ASCII."""
    if all(argument.isascii() for argument in arguments):
        return arguments
    checked: list[str] = import_module("adapterhub_fin.plugin.texts").check_arguments(arguments)
    return checked


def _sentence(error: Exception) -> str:
    """An error as one line: of the operating system's, the file, the reason and what to do."""
    if not isinstance(error, OSError) or error.strerror is None or _is_ours(error):
        return str(error)
    if error.filename is None:
        return f"the output can't be written ({error.strerror}): make room, or send it elsewhere"
    return f"{error.filename} can't be used ({error.strerror}): name another path, or mend this one"


def _flushed(code: int) -> int:
    """The exit status, once all that was printed is out: 1 where standard output does not take it."""
    try:
        flush()
    except BrokenPipeError:
        abandon()
    except OSError as error:
        abandon()
        click.echo(f"ahf: standard output takes no more ({error.strerror}): make room, or send it elsewhere", err=True)
        return 1
    return code


def _is_ours(error: Exception) -> bool:
    errors: Any = import_module("adapterhub_fin_registry.errors")
    return isinstance(error, errors.AdapterHubError)
