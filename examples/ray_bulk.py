"""Answer a table on a Ray cluster: every worker holds a pool, and each row has its version and digest beside it.

python examples/ray_bulk.py --base minilm --reference acme/tone@champion --text headline news.parquet answered
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

import adapterhub_fin as ahf


class Answer:
    """Hold a pool in a worker, and answer batches of rows with it."""

    def __init__(self, base: str, reference: str, text: str) -> None:
        self.pool, self.reference, self.text = ahf.pool(base), reference, text

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return a batch with `label`, `score`, `reference` and `digest` for each row."""
        answers = self.pool.predict([str(text) for text in batch[self.text]], self.reference)
        return {
            **batch,
            "label": np.array([answer.value.label for answer in answers]),
            "score": np.array([answer.value.score for answer in answers], np.float32),
            "reference": np.array([answer.reference for answer in answers]),
            "digest": np.array([answer.digest for answer in answers]),
        }


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("out")
    parser.add_argument("--base", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    version = ahf.RegistryChain.configured().locate(given.reference).version  # an alias may move during a long run
    if "RAY_ADDRESS" not in os.environ:
        ray.init(num_cpus=given.workers + 1)  # on this machine; one is for reading and writing
    rows = ray.data.read_parquet(given.table)
    options = {"base": given.base, "reference": version.reference, "text": given.text}
    answered = rows.map_batches(Answer, fn_constructor_kwargs=options, concurrency=given.workers, batch_size=256)
    answered.write_parquet(given.out)


if __name__ == "__main__":
    main()
