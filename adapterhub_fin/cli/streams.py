"""Print any text to any standard output: characters that its encoding lacks are written as escapes."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

ESCAPED = (
    "ahf-ascii"  # ASCII under a name that click doesn't know, because click writes UTF-8 to a stream that says ASCII
)


def escape_unencodable() -> None:
    """Write characters that standard output and error can't encode as `\\xe9` or `\\u2013`, rather than fail."""
    if sys.stdout is None:  # the caller closed it
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue  # the caller replaced it
        if stream.errors == "strict" or (stream.errors == "surrogateescape" and not _is_unicode(stream.encoding)):
            stream.reconfigure(errors="backslashreplace")
        with suppress(LookupError):
            if codecs.lookup(stream.encoding).name == "ascii":
                codecs.register(_escaped)
                stream.reconfigure(encoding=ESCAPED, errors=stream.errors)


def _is_unicode(encoding: str) -> bool:
    return encoding.lower().startswith("utf")


def _escaped(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != ESCAPED:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode,
        ascii_codec.decode,
        ascii_codec.streamreader,
        ascii_codec.streamwriter,
        ascii_codec.incrementalencoder,
        ascii_codec.incrementaldecoder,
        name=ESCAPED,
    )


def flush() -> None:
    """Flush standard output, so that a full disk or a closed pipe is an error here and not at exit.

    Raises BrokenPipeError if the reader has closed the pipe, and OSError if the output can't be written.
    """
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def abandon() -> None:
    """Send the rest of standard output to the null device: its reader has closed it, or it can't be written."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
