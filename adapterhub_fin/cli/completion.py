"""Tab completion in bash of words that hold an `@`, where bash would have one word end and another begin."""

from __future__ import annotations

import os
import shlex
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

PLAIN = 'COMP_WORDS="${COMP_WORDS[*]}"'
LINE = 'COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS"'


class WholeWords(BashComplete):
    """Click's own, which reads the line instead of the words that bash makes of it.

    To bash `acme/tone@ch` is two words, the last of which it replaces: only `@champion` goes back to it.
    """

    source_template = BashComplete.source_template.replace(PLAIN, f"{LINE} {PLAIN}")

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        self.kept = "" if _is_in_quotes(line) else incomplete[: _start_of_last_word(incomplete)]
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        value: Any = item.value
        return f"{item.type},{str(value).removeprefix(self.kept)}"


def _start_of_last_word(text: str) -> int:
    """Where what readline replaces begins: behind the last character that breaks words, but with an `@` itself."""
    breaks = os.environ.get("COMP_WORDBREAKS", "")
    last = max((text.rfind(each) for each in breaks), default=-1)
    return last if text[last:].startswith("@") else last + 1


def _is_in_quotes(line: str) -> bool:
    """Whether a quote is open, inside of which nothing breaks a word."""
    try:
        shlex.split(line)
    except ValueError:
        return True
    return False


def register() -> None:
    """Complete in bash by this class."""
    add_completion_class(WholeWords)
