"""Peak memory and speed of `ahf predict --table` on a million rows, on a base of two layers with random weights.

    python benchmarks/predict_table.py [--rows N] [--form csv|jsonl|parquet]

The memory is that of the whole process, with torch and the model in it; a run over a hundredth of the rows beside it
shows what does not grow with the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet

import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_encoder

CHILD = """
import json, resource, sys, time
import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.predict_table import predict_table
adapter = ahf.load("acme/bench@1", base=sys.argv[1])
start = time.perf_counter()
count = predict_table(adapter, sys.argv[2], sys.argv[3], batch_size=256)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": count, "seconds": time.perf_counter() - start, "peak": peak}))
"""


def write_rows(path: Path, count: int) -> None:
    """Write `count` rows of a text and a number."""
    if path.suffix == ".parquet":
        schema = pyarrow.schema({"text": pyarrow.string(), "row": pyarrow.int64()})
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, count, 10_000):
                numbers = range(start, min(start + 10_000, count))
                table = {"text": [f"Firm {n} rose on day {n % 365}." for n in numbers], "row": list(numbers)}
                writer.write_table(pyarrow.table(table, schema=schema))
        return
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".csv":
            file.write("text,row\n")
        for n in range(count):
            text = f"Firm {n} rose on day {n % 365}."
            file.write(f"{text},{n}\n" if path.suffix == ".csv" else json.dumps({"text": text, "row": n}) + "\n")


def main() -> None:
    """Train once, then answer a hundredth of the rows and all of them, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--form", choices=("csv", "jsonl", "parquet"), default="csv")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["AHF_HOME"] = str(root / "home")
        base = tiny_encoder(root / "base")
        ahf.train(
            name="acme/bench",
            base={"id": "acme/tiny", "path": str(base)},
            method={"name": "lora", "rank": 2},
            corpus={"name": "headlines", "rows": 120},
            training={"epochs": 1, "max_length": 32},
        )
        print("| rows | seconds | rows a second | peak memory, MB |\n|---|---|---|---|")
        for count in (arguments.rows // 100, arguments.rows):
            table = root / f"rows.{arguments.form}"
            write_rows(table, count)
            command = [sys.executable, "-c", CHILD, str(base), str(table), str(root / f"out.{arguments.form}")]
            done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rate = done["rows"] / done["seconds"]
            print(f"| {done['rows']:,} | {done['seconds']:.0f} | {rate:,.0f} | {done['peak'] / 1e6:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
