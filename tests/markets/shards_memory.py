"""Read a folder of statements into shards and print the most kilobytes that the process held (VmHWM).

python shards_memory.py FOLDER CACHE
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from adapterhub_fin_markets.corpora.fomc import Fomc
from adapterhub_fin_markets.corpora.options import FomcOptions

os.environ["AHF_CACHE"] = sys.argv[2]
rows = Fomc(FomcOptions(path=Path(sys.argv[1]), kind="statements", sharded=True, normalise=False)).load()
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
print(len(rows.table), peak[1] if peak else 0)
