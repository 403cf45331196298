"""Answer the requests whose rows are classified or embedded."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Final

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapterhub_fin.engine.pool.answers import PoolAnswer
from adapterhub_fin.engine.pool.serving import Serving
from adapterhub_fin.inference_server.errors import wrong_field
from adapterhub_fin.inference_server.fields import (
    WHEN,
    check_fields,
    flag,
    inputs_of,
    model_of,
    options_of,
    timeout_of,
    when_of,
)
from adapterhub_fin.inference_server.guard import Guard, while_connected

_ROWS: Final = WHEN | {"model", "input", "timeout", "skip_refused"}
_EMBEDDING: Final = {"pooling": "pooling", "layer": "layer", "normalize": "normalize"}


class RowRoutes:
    """Answer `POST /v1/classify` and `POST /v1/embeddings`."""

    def __init__(self, guard: Guard, serving: Serving, timeout: float) -> None:
        self._guard, self._serving, self._timeout = guard, serving, timeout

    async def classify(self, request: Request) -> Response:
        """Answer each row with what the version's head predicts."""
        document = await self._guard.document(request)
        check_fields(document, _ROWS)
        model = model_of(document)
        work = self._serving.predict_rows(inputs_of(document), model, **self._how(document))
        answers = await while_connected(request, work)
        data = [{"index": index, **_classified(answer)} for index, answer in enumerate(answers)]
        return JSONResponse({"object": "list", "model": answering(model, answers), "data": data})

    async def embed(self, request: Request) -> Response:
        """Answer each row with its vector, as a list of numbers or as base64 of float32, the lowest byte first."""
        document = await self._guard.document(request)
        check_fields(document, _ROWS | {"encoding_format", *_EMBEDDING})
        encoding = document.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise wrong_field("encoding_format", "encoding_format must be float or base64")
        model, options = model_of(document), options_of(document, _EMBEDDING)
        work = self._serving.embed_rows(inputs_of(document), model, **self._how(document), **options)
        answers = await while_connected(request, work)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": None if answer is None else _encoded(answer.value, encoding),
                **version_facts(answer),
            }
            for index, answer in enumerate(answers)
        ]
        tokens = sum(answer.tokens for answer in answers if answer is not None)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": answering(model, answers), "data": data, "usage": usage})

    def _how(self, document: dict[str, Any]) -> dict[str, Any]:
        limit = timeout_of(document, self._timeout)
        return {**when_of(document), "skip_refused": flag(document, "skip_refused"), "timeout": limit}


def answering(model: str, answers: Sequence[PoolAnswer | None]) -> str:
    """Return the version that answered every row; where there are several, what was asked for."""
    references = {answer.reference for answer in answers if answer is not None}
    return references.pop() if len(references) == 1 else model


def version_facts(answer: PoolAnswer | None) -> dict[str, Any]:
    """Return which version answered; nulls for a row that no version may answer."""
    if answer is None:
        return {"reference": None, "version": None, "digest": None}
    number = answer.reference.rpartition("@")[2]
    return {
        "reference": answer.reference,
        "version": int(number) if number.isdigit() else None,
        "digest": answer.digest,
    }


def _classified(answer: PoolAnswer | None) -> dict[str, Any]:
    value = answer.value if answer is not None else None
    facts: dict[str, Any] = {"label": None}
    if is_dataclass(value) and not isinstance(value, type):
        facts = asdict(value)
    elif value is not None:
        facts = {"value": value}
    return {**facts, **version_facts(answer)}


def _encoded(vector: np.ndarray, encoding: str) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
