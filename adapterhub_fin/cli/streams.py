"""Print any text on any standard output: what its encoding has no place for is written as an escape, and not lost."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

ESCAPED = "ahf-ascii"  # as ASCII is, under a name that click doesn't know: it writes UTF-8 where a stream says ASCII


def lossless() -> None:
    """Write what standard output and error can't encode as `\\xe9` or `\\u2013`, rather than fail."""
    if sys.stdout is None:  # closed by whoever called
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue  # replaced by whoever called
        if stream.errors == "strict" or (stream.errors == "surrogateescape" and not _is_unicode(stream.encoding)):
            stream.reconfigure(errors="backslashreplace")
        with suppress(LookupError):
            if codecs.lookup(stream.encoding).name == "ascii":
                codecs.register(_escaped)
                stream.reconfigure(encoding=ESCAPED, errors=stream.errors)


def speaks_unicode() -> bool:
    """Return whether standard output takes any letter as itself."""
    return _is_unicode(getattr(sys.stdout, "encoding", None) or "utf-8")


def _is_unicode(encoding: str) -> bool:
    return encoding.lower().startswith("utf")


def _escaped(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != ESCAPED:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        found.streamreader,
        found.streamwriter,
        found.incrementalencoder,
        found.incrementaldecoder,
        name=ESCAPED,
    )


def flush() -> None:
    """Write out what is buffered, so that a full disk or a reader who has left is told of here and not at exit."""
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def abandon() -> None:
    """Let nothing more be written to standard output, whose reader has left or which takes no more."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
