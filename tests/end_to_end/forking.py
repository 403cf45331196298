"""Answer in the children of a fork, as the workers of a server that loads before it forks; run by test_forks.py.

Prints one JSON object: what the parent answers, and what each child does, or the name and text of its error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.locks import building, tokenizing
from adapterhub_fin.engine.inference.adapter import Adapter

TEXTS = [f"Arlo: profit rose for the {number}. time, and this text is as long as it must be." for number in range(16)]


def answers(adapter: Adapter) -> list[float]:
    """Figures of every text, in batches that are large enough for several threads of OpenMP."""
    return [*adapter.logits(TEXTS).flatten().tolist(), *adapter.embed(TEXTS[:2]).flatten().tolist()]


def in_child(work: Callable[[], Any]) -> Any:
    """Fork, do it there, and return what it gave: an error as its name and text, or "hung"."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = work()
        except BaseException as error:
            told = [type(error).__name__, str(error)]
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    timer = threading.Timer(100, os.kill, (child, 9))
    timer.start()
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    timer.cancel()
    os.waitpid(child, 0)
    return json.loads(told or b'"hung"')


@contextmanager
def elsewhere(held: Any) -> Iterator[None]:
    """Hold something in another thread."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with held:
            begun.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main(folder: str, home: str) -> None:
    torch.set_num_threads(2)
    registry = ahf.Registry(home)
    backbone, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    shared = {"base": backbone, "tokenizer": tokenizer, "registry": registry}
    first, second = ahf.load("t/tone-0", **shared), ahf.load("t/tone-1", **shared)
    other = ahf.load("t/tone-0", base=folder, registry=registry)
    parent, sibling = answers(first), answers(second)
    told: dict[str, Any] = {"parent": parent, "sibling": sibling}
    told["children"] = [in_child(lambda: answers(first)) for _ in range(2)]
    told["children of threads"] = []
    threads = [
        threading.Thread(target=lambda: told["children of threads"].append(in_child(lambda: answers(second))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told["grandchild"] = in_child(lambda: in_child(lambda: answers(first)))
    told["loads in a child"] = in_child(lambda: answers(ahf.load("t/tone-1", base=folder, registry=registry)))
    with elsewhere(second.answering()):
        told["while another answers"] = in_child(lambda: answers(first))
        told["while another answers, on another model"] = in_child(lambda: answers(other))
    with elsewhere(building()):
        told["while another loads"] = in_child(lambda: answers(first))
    with elsewhere(tokenizing()):
        told["while another reads texts"] = in_child(lambda: answers(first))
    with first.answering():
        told["while this one answers"] = in_child(lambda: answers(first))
    told["after"] = answers(first)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
