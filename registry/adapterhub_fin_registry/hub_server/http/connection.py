"""Limit how long a connection waits for a request's head."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

LINGER: Final = 10.0  # seconds in which the rest of a refused request's body is read and dropped
DROPPED: Final = 64 * 2**20  # bytes that are dropped at most
HEAD: Final = 20.0  # seconds from a connection, or from the first byte, to the end of a request's head


class PatientProtocol(H11Protocol):
    """Speak HTTP/1.1 as uvicorn does, but close a connection whose request head doesn't end in time.

    A request that is refused before its body was read is answered, and the rest of its body is dropped for a while. If
    the connection were closed at once, the client's system would see a reset before the client had read the answer.
    """

    _waiting: asyncio.TimerHandle | None = None
    _dropping: asyncio.TimerHandle | None = None
    _dropped = 0

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first request."""
        # asyncio sets TCP_NODELAY only on sockets that were created with the protocol's number. Without it a small
        # answer, which is written as head and body, waits 40 ms for the client's acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(_Closing(transport, self._close))  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Keep the timer running until the head is complete; between two requests uvicorn has a timer of its own."""
        if self._dropping is not None:
            self._dropped += len(data)
            if self._dropped > DROPPED:
                self.transport.close()
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_waiting()
        if self._dropping is not None:
            self._dropping.cancel()
        super().connection_lost(exc)

    def _close(self, transport: asyncio.Transport) -> None:
        """Close a connection, or only its sending half while the rest of a body is still expected."""
        is_sending = self.cycle is not None and self.cycle.response_complete and self.cycle.more_body
        if self._dropping is not None or not is_sending or transport.is_closing():
            transport.close()
            return
        self._stop_waiting()
        self._dropping = self.loop.call_later(LINGER, transport.close)
        transport.write_eof()
        transport.resume_reading()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Closing:
    """Wrap a transport so that `close` calls the protocol instead."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[asyncio.Transport], None]) -> None:
        self._transport = transport
        self._close = close
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Let the protocol close the connection."""
        self._ended = True
        self._close(self._transport)

    def is_closing(self) -> bool:
        """Return whether `close` was called or the connection is closing."""
        return self._ended or self._transport.is_closing()
