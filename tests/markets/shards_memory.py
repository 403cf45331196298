"""Read a folder of statements into shards, digest and compare them, and print the most kilobytes held (VmHWM).

python shards_memory.py FOLDER CACHE
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from adapterhub_fin.engine.data.corpus import corpus_digest
from adapterhub_fin.engine.data.duplicates import copies_in
from adapterhub_fin_markets.corpora.fomc import Fomc
from adapterhub_fin_markets.corpora.options import FomcOptions

os.environ["AHF_CACHE"] = sys.argv[2]
rows = Fomc(FomcOptions(path=Path(sys.argv[1]), kind="statements", sharded=True, normalise=False)).load()
corpus_digest(rows.table)
copies_in(rows.table.select(reversed(range(len(rows.table)))))
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
print(len(rows.table), peak[1] if peak else 0)
