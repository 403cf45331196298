"""Know the formats in which a base without a chat template may read conversations, and check one that a user writes.

A format is a Jinja template, as Transformers' `apply_chat_template` takes it. No torch is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator

PLAIN: Final = "plain"  # what `render` writes for a tokenizer that has no template
NAMED: Final[Mapping[str, str]] = {
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "llama-2": (
        "{% set turns = messages %}{% set system = '' %}"
        "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
        "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% endif %}"
        "{% for message in turns %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('user and assistant must alternate, and the user speaks first') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ (bos_token or '') + '[INST] ' }}"
        "{{ ((system if loop.first else '') + message['content']).strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + message['content'].strip() + ' ' + (eos_token or '') }}{% endif %}{% endfor %}"
    ),
    "alpaca": (
        "{{ bos_token or '' }}{% if messages[0]['role'] != 'system' %}"
        "{{ 'Below is an instruction that describes a task. ' }}"
        "{{ 'Write a response that appropriately completes the request.\\n\\n' }}{% endif %}"
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
        "{% else %}{{ '### Response:\\n' + message['content'] + (eos_token or '') + '\\n\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
    ),
}
_ASKED, _ANSWERED, _TOLD = "What moved the price?", "The results did.", "Answer in one sentence."
_GENERATION = re.compile(r"{%-?\s*(end)?generation\s*-?%}")  # a tag of Transformers' own


def checked_template(value: str) -> str:
    """Return a format's name or the text of its template.

    Raises ValueError, which says what is wrong: for another name, for text that is no Jinja, and for a template that
    leaves out what was said or where the assistant's answer begins.
    """
    if value == PLAIN or value in NAMED:
        return value
    if "{{" not in value:
        names = ", ".join((PLAIN, *NAMED))
        raise ValueError(f"there is no format {value!r}: choose {names}, or give the text of a Jinja template")
    user, answer = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}
    prompt, conversation = _rendered(value, [user], ask=True), _rendered(value, [user, answer])
    if prompt is None or conversation is None:
        raise ValueError("the template takes no conversation of a user and an assistant, whose turns must be in it")
    for role, content, text in (("user", _ASKED, prompt), ("assistant", _ANSWERED, conversation)):
        if content not in text:
            raise ValueError(f"the template leaves out what the {role} says: write message['content'] for that role")
    if not conversation.startswith(prompt):
        raise ValueError(
            "the template writes a conversation otherwise than it asks for the answer to it: with "
            "add_generation_prompt it must write just what stands before an answer"
        )
    with_system = _rendered(value, [{"role": "system", "content": _TOLD}, user, answer])
    if with_system is not None and _TOLD not in with_system:
        raise ValueError("the template leaves out what the system says: write it, or refuse it with raise_exception")
    return value


ChatTemplate = Annotated[str, AfterValidator(checked_template)]


def template_text(value: str | None) -> str | None:
    """Return the Jinja text of a format's name or text; "" for the plain form, and None for None."""
    return None if value is None else "" if value == PLAIN else NAMED.get(value, value)


def _rendered(template: str, messages: Sequence[Mapping[str, str]], *, ask: bool = False) -> str | None:
    """Return what a template makes of a conversation; None where it refuses it.

    Raises ValueError for a text that is no Jinja, or that fails in another way.
    """
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Refusal(TemplateError):
        pass

    def raise_exception(message: str) -> None:
        raise Refusal(message)

    # As transformers.utils.chat_template_utils compiles it, which imports torch.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": lambda form: "2020-01-01"}
    given: dict[str, Any] = {"messages": [*messages], "add_generation_prompt": ask, "tools": None, "documents": None}
    try:
        return environment.from_string(_GENERATION.sub("", template)).render(bos_token="<s>", eos_token="</s>", **given)
    except Refusal:
        return None
    except TemplateSyntaxError as error:
        raise ValueError(f"the template is no Jinja: {error.message} (line {error.lineno})") from None
    except Exception as error:  # a template is a program: it may fail in any way
        raise ValueError(f"the template fails on a conversation of a user and an assistant: {error}") from None
