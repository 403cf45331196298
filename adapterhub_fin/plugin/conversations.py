"""Write conversations as text: the tokenizer's own template, or a plain one, and where the answers stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from adapterhub_fin.errors import BadCorpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, str]]  # one conversation: mappings with `role` and `content`
ANSWER = "It is so."  # found again in what a template makes of it


def render(messages: Messages, tokenizer: PreTrainedTokenizerBase, *, ask: bool) -> str:
    """Return the text of a conversation; with `ask`, up to where the assistant begins to speak."""
    if tokenizer.chat_template is not None:
        return _from_template([dict(message) for message in messages], tokenizer, ask)
    end = tokenizer.eos_token or ""
    turns = [
        f"### {message['role']}\n{message['content']}{end if message['role'] == 'assistant' else ''}\n\n"
        for message in messages
    ]
    return "".join(turns) + ("### assistant\n" if ask else "")


def _from_template(messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, ask: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
    except Exception as error:  # a template is a program of the base's author: it may refuse, or fail in any way
        roles = ", ".join(message["role"] for message in messages) or "none yet"
        raise BadCorpus(
            f"the tokenizer's chat template does not take a conversation of these roles ({roles}): {error}; leave out "
            "the system message or let the user speak first, as the template wants it, or give the tokenizer another"
        ) from error


def closing(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what a tokenizer's template writes after an answer, as far as training learns it; "" where nothing."""
    if tokenizer.chat_template is None:
        return ""  # the plain form closes an answer with the end of text
    try:
        text = render(
            [{"role": "user", "content": "Q"}, {"role": "assistant", "content": ANSWER}], tokenizer, ask=False
        )
    except BadCorpus:
        return ""  # nor could it have been trained on
    return text.rpartition(ANSWER)[2].strip() if ANSWER in text else ""


def answer_spans(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[tuple[int, int]]]:
    """Return the whole text, and the span in characters of each answer of the assistant, its end mark included.

    Raises BadCorpus for a chat template that changes earlier messages.
    """
    text = render(messages, tokenizer, ask=False)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(messages[:index], tokenizer, ask=True)
        after = render(messages[: index + 1], tokenizer, ask=False)
        if not (text.startswith(after) and after.startswith(before)):
            raise BadCorpus(
                "the tokenizer's chat template changes what was said before, so that answers can't be told apart: "
                "give conversations of one answer"
            )
        spans.append((len(before), len(after.rstrip("\n"))))
    return text, spans
