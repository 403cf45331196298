"""Watch a folder in a process of its own, on a clock in which a day lasts a part of a second: for test_signals_watch.

    signals_watched.py FOLDER OUT BEGAN SECONDS_A_DAY

BEGAN is the real time at which the first day began.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.watching import Watch

FIRST_DAY = datetime(2021, 3, 1, 7, tzinfo=UTC)
OPTIONS = SignalOptions(ticker=("AAA", "BBB"), aggregate="mean")
TABLE = {"text": "text", "published": "at", "group": "symbol"}


def main() -> None:
    folder, out, began, day = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])

    def now() -> datetime:
        return FIRST_DAY + timedelta(days=(time.time() - began) / day)

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Watch("acme/tone", folder, out, OPTIONS, TABLE, {"adapters": {}}, now=now, say=lambda line: None).run(stop, 0.02)


if __name__ == "__main__":
    main()
