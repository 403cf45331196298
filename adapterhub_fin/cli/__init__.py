"""Run `ahf`: each command parses its arguments, makes one public call and prints; it is imported when it is typed."""

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
from adapterhub_fin.cli.streams import abandon, escape_unencodable, flush

GROUP = "adapterhub_fin.verbs"
# The first lines of the shipped commands' help, so that `ahf --help` imports none of them; a test keeps them equal.
SUMMARIES = {
    "train": "Train an adapter from a recipe and add it to the registry.",
    "pretrain": "Train a base of your own on dated text, and add it to the registry.",
    "tokenize": "Tokenize dated text up to a day into shards for pretraining.",
    "sweep": "Search a recipe's options, and store the version that validates best.",
    "plan": "Estimate a run's parameters, memory and time without loading any weights.",
    "predict": "Predict labels, scores or numbers for texts, or for the rows of a table, with an adapter.",
    "generate": "Generate text from prompts.",
    "embed": "Embed texts, or the rows of a table by their time, as vectors with an adapter.",
    "evaluate": "Evaluate a version on a corpus and record its metrics.",
    "compare": "Compare versions on the same rows, with tests and a verdict.",
    "contamination": "Ask a base about dated facts: does it know of what came after its knowledge end?",
    "probe": "Compare a version's layers with those of its bare base.",
    "forgetting": "Measure what tuning made a version forget, on other corpora.",
    "monitor": "Compare what a version reads and answers today with what it was tested on.",
    "report": "Draw a version's training, answers, data and lineage as one HTML page.",
    "merge": "Merge adapters of one base into a new version, without loading the base.",
    "list": "List adapters and their versions.",
    "search": "Search versions by name, method, metrics, dates and other fields.",
    "show": "Show a version's manifest, aliases and events.",
    "sign": "Sign a version, or create a signing key.",
    "alias": "Set, move, remove or list aliases.",
    "tag": "Add a tag to a version, or remove one.",
    "yank": "Withdraw a version; its number, aliases and digest still resolve.",
    "rm": "Delete one exact version permanently; its number is never reused.",
    "diff": "Compare the manifests and the weights of two versions, tensor by tensor.",
    "import": "Import a PEFT folder or a base that was trained elsewhere.",
    "publish": "Publish a version to a Hub, under the next free number there.",
    "pull": "Pull a version from a Hub into the registry.",
    "export": "Export a version to a folder: for PEFT, for vLLM, merged into its base, or as an ONNX graph.",
    "extract": "Extract a low-rank adapter from a fully fine-tuned model and its base.",
    "check": "Check whether a serving engine can serve a version.",
    "path": "Verify a version's files and print its folder.",
    "serve": "Serve the registry as a Hub, for any Hub client.",
    "schema": "Print the JSON Schema of a recipe, for editors that complete YAML.",
    "plugins": "List plugins, what they provide and which are broken.",
    "new-plugin": "Create a plugin package to start from.",
    "verify": "Verify stored versions: hash their files and compare with the manifests.",
    "doctor": "Find, explain and repair damage in the registry.",
    "gc": "Remove what interrupted writes and deletions left behind.",
}
EPILOG = 'Tab completion: eval "$(_AHF_COMPLETE=bash_source ahf)" (or zsh_source, fish_source).'
# Options that were renamed before the first release, and their names now.
RETIRED = {"--tier": "--ignore-base", "--part": "--split", "--licence": "--license", "--foreign": "--third-party"}


class Commands(click.Group):
    """Look up commands among the entry points and import each one only when it is used."""

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
        except Exception as error:  # a third party's command may fail in any way; the others still work
            owner = entry.dist.name if entry.dist else "an unknown distribution"
            if isinstance(error, ImportError) and entry.extras:
                extra = f"{owner}[{','.join(entry.extras)}]"
                raise click.ClickException(
                    f"the command {cmd_name!r} needs what is not installed here ({error.name}): pip install '{extra}'"
                ) from error
            raise click.ClickException(
                f"the command {cmd_name!r} of {owner} can't be loaded: {error!r}; fix or uninstall that package"
            ) from error
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and not args[0].startswith("-") and args[0] not in self._entries():
            near = get_close_matches(args[0], self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        entries = self._entries()
        shipped = [(name, SUMMARIES[name]) for name in SUMMARIES if name in entries]
        third_party = [
            (name, f"from {e.dist.name if e.dist else '?'}" + (f", extra {', '.join(e.extras)}" if e.extras else ""))
            for name, e in sorted(entries.items())
            if name not in SUMMARIES
        ]
        for title, rows in (("Commands", shipped), ("Commands of plugins", third_party)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--registry", metavar="NAME", help="Use only this one of the configured registries.")
@click.version_option(__version__, prog_name="ahf")
@click.pass_context
def group(context: click.Context, debug: bool, registry: str | None) -> None:
    """Train, version, find, load and merge PEFT adapters for finance, by name, without look-ahead."""
    if not debug:
        _silence_libraries()
    if registry is not None:
        context.with_resource(_use_registry(registry))


@contextmanager
def _use_registry(registry: str) -> Iterator[None]:
    """Set AHF_REGISTRY while one command runs."""
    before = os.environ.get("AHF_REGISTRY")
    os.environ["AHF_REGISTRY"] = registry
    try:
        yield
    finally:
        os.environ.pop("AHF_REGISTRY")
        if before is not None:
            os.environ["AHF_REGISTRY"] = before


def _silence_libraries() -> None:
    """Keep the notices of other libraries off the terminal; their errors are still raised."""
    import logging
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for library in ("bitsandbytes", "accelerate", "datasets", "torch"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|peft|torch|bitsandbytes|accelerate|datasets)(\.|$)")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `ahf` and exit: 0 for success, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    escape_unencodable()
    output = sys.stdout
    if "_AHF_COMPLETE" in os.environ:  # the shell asks for completions, or for its completion script
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
        code = 0  # the reader of the pipe closed it, as `head` does
    except SystemExit:
        if sys.stdout is output:
            raise
        abandon()  # click replaces stdout and exits when the reader of the pipe has closed it
        code = 0
    except Exception as error:
        if "--debug" in arguments or not (isinstance(error, OSError) or _is_own_error(error)):
            raise
        click.echo(f"ahf: {_one_line(error)}", err=True)
        code = 1
    code = _flush_output(code if isinstance(code, int) else 0)
    if os.environ.get("WORLD_SIZE", "1") != "1":  # one of several, as torchrun starts them
        import_module("adapterhub_fin.engine.training.distributed").end(code)
    sys.exit(code)


def _as_text(arguments: list[str]) -> list[str]:
    """Return the arguments, checked; ASCII needs no check and no import.

    Raises BadText for an argument that is neither text nor a file name.
    """
    if all(argument.isascii() for argument in arguments):
        return arguments
    checked: list[str] = import_module("adapterhub_fin.plugin.texts").check_arguments(arguments)
    return checked


def _one_line(error: Exception) -> str:
    """Return an error as one line; for an error of the operating system, with the file, the reason and what to do."""
    if not isinstance(error, OSError) or error.strerror is None or _is_own_error(error):
        return str(error)
    if error.filename is None:
        return f"the output can't be written ({error.strerror}): free some space, or redirect it"
    return f"{error.filename} can't be used ({error.strerror}): give another path, or fix this one"


def _flush_output(code: int) -> int:
    """Flush standard output and return the exit status: `code`, or 1 if the output can't be written."""
    try:
        flush()
    except BrokenPipeError:
        abandon()
    except OSError as error:
        abandon()
        click.echo(
            f"ahf: standard output can't be written ({error.strerror}): free some space, or redirect it", err=True
        )
        return 1
    return code


def _is_own_error(error: Exception) -> bool:
    errors: Any = import_module("adapterhub_fin_registry.errors")
    return isinstance(error, errors.AdapterHubError)
