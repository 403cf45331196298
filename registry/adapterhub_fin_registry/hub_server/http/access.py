"""Log each request as a line of JSON, and count it in the metrics."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import MutableMapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log: Final = logging.getLogger("adapterhub_fin_registry.hub_server.http.access")


class JsonLines(logging.Formatter):
    """Format every log record as one line of JSON; the record of a request is one already."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        message = record.getMessage()
        if record.name == log.name and record.levelno == logging.INFO:
            return message
        line = {"at": _at(record.created), "level": record.levelname.lower(), "message": message}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class RequestMetrics:
    """Hold the Prometheus metrics of the requests of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("ahf_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram("ahf_request_seconds", "Time to answer", ("route",), registry=self.registry)
        self.received = Counter("ahf_received_bytes", "Bytes of bodies received", registry=self.registry)
        self.sent = Counter("ahf_sent_bytes", "Bytes of bodies sent", registry=self.registry)


class Metrics(RequestMetrics):
    """Hold the Prometheus metrics of a Hub; no repository's name is a label."""

    def __init__(self) -> None:
        super().__init__()
        self.versions = Counter("ahf_versions_pushed", "Versions stored by pushes", registry=self.registry)


class Access:
    """Give every request an id, and log how it ended. The query isn't logged, since it may contain a signature."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen: dict[str, Any] = {"status": 0, "sent": 0, "received": 0, "complete": False}
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if seen["status"] >= 400 and has_body and not seen["complete"]:
                    headers["Connection"] = "close"  # the rest of the body would be read as a request
            elif message["type"] == "http.response.body":
                seen["sent"] += len(message.get("body", b""))
            await send(message)

        async def receive_counted() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                seen["received"] += len(message.get("body", b""))
                seen["complete"] = not message.get("more_body", False)
            return message

        started = time.perf_counter()
        try:
            await self._app(scope, receive_counted, send_counted)
        except Exception:
            log.exception("request %s failed", request_id)
            if seen["status"]:
                raise  # too late for another answer: the connection is closed
            answer = JSONResponse({"error": f"the server failed: tell whoever runs it of request {request_id}"}, 500)
            await answer(scope, receive_counted, send_counted)
        finally:
            self._write(scope, seen, request_id, time.perf_counter() - started)

    def _write(self, scope: MutableMapping[str, Any], seen: dict[str, Any], request_id: str, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", "none"))
        self._metrics.requests.labels(_method(scope), route, str(seen["status"])).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        self._metrics.received.inc(seen["received"])
        self._metrics.sent.inc(seen["sent"])
        client = scope.get("client")
        line = {
            "at": _at(time.time()),
            "id": request_id,
            "client": client[0] if client else None,
            "token": scope["state"].get("token"),
            "method": _method(scope),
            "path": scope["path"][:1000],
            "status": seen["status"],
            "received": seen["received"],
            "sent": seen["sent"],
            "ms": round(seconds * 1000, 1),
        }
        log.info("%s", json.dumps(line))


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _method(scope: MutableMapping[str, Any]) -> str:
    methods = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
    return str(scope["method"]) if scope["method"] in methods else "other"
