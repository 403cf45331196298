"""Watch a folder in processes of their own, on a clock in which a day lasts a part of a second: for test_signals_watch.

    signals_watched.py FOLDER OUT BEGAN SECONDS_A_DAY

BEGAN is the real time at which the first day began. Each line on standard input starts a process, which a fork makes
quick; its number and then its exit status are printed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
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
    for module in ("torch", "peft", "transformers.models.bert.modeling_bert", "exchange_calendars"):
        import_module(module)  # once, and not in each child
    for _ in sys.stdin:
        if (child := os.fork()) == 0:
            main()
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
