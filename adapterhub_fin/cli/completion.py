"""Complete words with an `@` or a `=`, after which bash begins another word, and zsh would add a space."""

from __future__ import annotations

import os
import shlex
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class, split_arg_string

PLAIN = 'COMP_WORDS="${COMP_WORDS[*]}"'
LINE = 'COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS"'

RETURN = "    return 0\n"
NO_SPACE = "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
ADD = "compadd -U -V unsorted -a completions"
ADD_KEYS = """local -a keys values
        keys=(${(M)completions:#*=})
        values=(${completions:#*=})
        (( $#keys )) && compadd -U -V unsorted -S '' -a keys
        (( $#values )) && compadd -U -V unsorted -a values"""


class WholeWords(BashComplete):
    """Read the command line itself instead of the words that bash splits it into.

    To bash, `acme/tone@ch` is two words and it replaces the last of them, so that only `@champion` is returned to it.
    """

    source_template = BashComplete.source_template.replace(PLAIN, f"{LINE} {PLAIN}").replace(RETURN, NO_SPACE + RETURN)

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


class KeysWithoutSpace(ZshComplete):
    """Leave the cursor right after a key's `=`, where its value goes."""

    source_template = ZshComplete.source_template.replace(ADD, ADD_KEYS)


def register() -> None:
    """Use these for completion in bash and zsh; fish needs nothing of its own."""
    add_completion_class(WholeWords)
    add_completion_class(KeysWithoutSpace)
