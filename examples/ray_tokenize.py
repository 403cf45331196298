"""Tokenize on a Ray cluster: one process reads the rows in their order, and workers turn them into tokens.

The shards have the bytes that `ahf tokenize` gives on one machine. A pass that was killed goes on with the same
command.

python examples/ray_tokenize.py shards/2013 fed.yaml --set tokenizer=tokenizers/2013 --workers 8
"""

from __future__ import annotations

import argparse
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import adapterhub_fin as ahf

AHEAD = 2  # batches of about a million characters that each worker has at once


class Worker:
    """Hold what encodes a batch of texts in a process of its own."""

    def __init__(self, encode: Callable[[Any], Any]) -> None:
        self.encode = encode

    def batch(self, texts: Any) -> Any:
        """Return the token ids of each text, and its signature where near-duplicates are sought."""
        return self.encode(texts)


def on_workers(count: int) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]:
    """Return a `map` of which Ray's workers compute the values; few are under way at once, and they come in order."""
    import ray

    def mapped(encode: Callable[[Any], Any], batches: Iterable[Any]) -> Iterator[Any]:
        once = ray.put(encode)
        workers = [ray.remote(Worker).remote(once) for _ in range(count)]
        pending: deque[Any] = deque()
        for number, texts in enumerate(batches):
            pending.append(workers[number % count].batch.remote(texts))
            if len(pending) >= AHEAD * count:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())

    return mapped


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if "RAY_ADDRESS" not in os.environ:
        ray.init(num_cpus=given.workers)  # on this machine
    mapped = on_workers(given.workers)
    print(ahf.tokenize(given.recipe, given.folder, overrides=given.set, progress=True, mapped=mapped))


if __name__ == "__main__":
    main()
