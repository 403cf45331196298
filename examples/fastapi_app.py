"""Serve classifiers of one base over HTTP: one model in memory, an adapter each, as many threads as there are requests.

    pip install fastapi uvicorn
    AHF_BASE=/models/minilm AHF_ADAPTERS=acme/tone@3,acme/risk@1 uvicorn fastapi_app:app

Without AHF_BASE each adapter loads a base of its own, where it finds it. `Containerfile` makes an image of it.

Endpoints are `def`: FastAPI runs those in threads, where an answer may wait for the one before it. In an `async def`
the whole server would wait.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf

adapters: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load before the first request, since a load waits for answers and answers wait for a load."""
    shared: dict[str, Any] = {}
    if base := os.environ.get("AHF_BASE"):
        shared = {"base": AutoModel.from_pretrained(base), "tokenizer": AutoTokenizer.from_pretrained(base)}
    for name in os.environ["AHF_ADAPTERS"].split(","):
        adapters[name] = ahf.load(name, **shared)
    yield
    adapters.clear()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(ahf.AdapterHubError)
def refused(request: Request, error: Exception) -> JSONResponse:
    """Answer what can't be answered with the sentence that says why."""
    return JSONResponse({"detail": str(error)}, status_code=422)


def chosen(name: str) -> Any:
    """Return the adapter of that name."""
    if name not in adapters:
        raise HTTPException(404, f"{name} is not served: there is {', '.join(adapters)}")
    return adapters[name]


Chosen = Annotated[Any, Depends(chosen)]
Texts = Annotated[list[str], Body()]


@app.get("/health")
async def health() -> list[str]:
    """Return what is served, without waiting for a model or a thread: the server listens once everything is loaded."""
    return list(adapters)


@app.post("/predict")
def predict(adapter: Chosen, texts: Texts) -> list[Any]:
    """Return one answer for each text: `POST /predict?name=acme/tone@3` with a JSON list of texts."""
    return list(adapter.predict(texts))


@app.post("/embed")
def embed(adapter: Chosen, texts: Texts) -> list[list[float]]:
    """Return one vector for each text."""
    vectors: list[list[float]] = adapter.embed(texts).tolist()
    return vectors
