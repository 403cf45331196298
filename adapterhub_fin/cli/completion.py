"""Complete words with an `@` in bash, which takes `@` for the end of a word."""

from __future__ import annotations

import os
import shlex
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

PLAIN = 'COMP_WORDS="${COMP_WORDS[*]}"'
LINE = 'COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS"'


class WholeWords(BashComplete):
    """Read the command line itself instead of the words that bash splits it into.

    To bash, `acme/tone@ch` is two words and it replaces the last of them, so that only `@champion` is returned to it.
    """

    source_template = BashComplete.source_template.replace(PLAIN, f"{LINE} {PLAIN}")

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        self.prefix = "" if _is_in_quotes(line) else incomplete[: _start_of_last_word(incomplete)]
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        value: Any = item.value
        return f"{item.type},{str(value).removeprefix(self.prefix)}"


def _start_of_last_word(text: str) -> int:
    """Return the position where readline's replacement begins: after the last word break, but at an `@` itself."""
    breaks = os.environ.get("COMP_WORDBREAKS", "")
    last = max((text.rfind(character) for character in breaks), default=-1)
    return last if text[last:].startswith("@") else last + 1


def _is_in_quotes(line: str) -> bool:
    """Return whether a quote is open: inside quotes nothing breaks a word."""
    try:
        shlex.split(line)
    except ValueError:
        return True
    return False


def register() -> None:
    """Use WholeWords for completion in bash."""
    add_completion_class(WholeWords)
