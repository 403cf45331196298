"""Read the fields of a request's body, and refuse those that nothing here would heed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapterhub_fin.inference_server.errors import ApiError, wrong_field

INPUTS: Final = 2048  # of one request, as OpenAI has it
IGNORED: Final = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"})
# Values that ask for nothing, by field: clients send them as defaults.
DEFAULTS: Final[Mapping[str, Sequence[Any]]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
WHEN: Final = frozenset({"as_of", "include_base"})


def check_fields(document: Mapping[str, Any], allowed: frozenset[str]) -> None:
    """Raise ApiError 400 for a field that would change nothing here, unless its value asks for nothing either."""
    for name, value in document.items():
        if name in allowed or name in IGNORED or value is None or value in DEFAULTS.get(name, ()):
            continue
        raise wrong_field(name, f"{name} isn't supported here: leave it out (known: {', '.join(sorted(allowed))})")


def model_of(document: Mapping[str, Any]) -> str:
    """Return the adapter's reference. Raises ApiError 400 where there is none."""
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise wrong_field("model", "model must be the reference of an adapter, such as acme/tone@champion")
    return model


def inputs_of(document: Mapping[str, Any]) -> list[Any]:
    """Return the rows of `input`: texts, or mappings with the columns that a version reads. Raises ApiError 400."""
    given = document.get("input")
    if isinstance(given, str | Mapping):
        return [given]
    if not isinstance(given, list) or not given:
        raise wrong_field("input", "input must be a text, or a list of texts with one at least")
    if all(isinstance(each, int | list) for each in given):
        raise wrong_field("input", "input holds token ids, which differ by base: send the texts themselves")
    if len(given) > INPUTS:
        raise wrong_field("input", f"input holds {len(given)} texts, and a request may have {INPUTS}: send several")
    return given


def when_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return which version may answer: `as_of`, one instant or one for each row, and `include_base`."""
    as_of, include_base = document.get("as_of"), document.get("include_base", True)
    instants = as_of if isinstance(as_of, list) else [as_of]
    if as_of is not None and not all(isinstance(each, str) and each for each in instants):
        raise wrong_field("as_of", "as_of must be an instant such as 2021-06-30, or a list with one for each input")
    if not isinstance(include_base, bool):
        raise wrong_field("include_base", "include_base must be true or false")
    return {"as_of": as_of, "include_base": include_base}


def flag(document: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false, false where it is missing. Raises ApiError 400."""
    value = document.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong_field(name, f"{name} must be true or false")
    return value


def timeout_of(document: Mapping[str, Any], longest: float) -> float:
    """Return the seconds that a request has: its own `timeout`, at most the server's. Raises ApiError 400."""
    value = document.get("timeout")
    if value is None:
        return longest
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise wrong_field("timeout", "timeout must be a number of seconds above 0")
    return min(float(value), longest)


def options_of(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a call by their names here; `names` maps the fields to them."""
    return {names[name]: value for name, value in document.items() if name in names and value is not None}


def messages_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a conversation, its contents as text. Raises ApiError 400 for what isn't one."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong_field("messages", "messages must be a list of turns with role and content, one at least")
    return [_turn(each, number) for number, each in enumerate(messages)]


def _turn(given: Any, number: int) -> dict[str, Any]:
    where = f"messages[{number}]"
    if not isinstance(given, Mapping) or not isinstance(given.get("role"), str):
        raise wrong_field(where, f"{where} must have a role and a content")
    content = given.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
            raise wrong_field(where, f"{where} holds a part that is no text: adapters here read text alone")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise wrong_field(where, f"{where} has no content: give a text")
    if given.get("tool_calls"):
        raise ApiError(400, f"{where} holds tool calls: adapters here read text alone", param=where)
    return {"role": given["role"], "content": content}
