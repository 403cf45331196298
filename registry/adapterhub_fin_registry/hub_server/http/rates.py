"""Limit the requests a minute of a client."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Final

from adapterhub_fin_registry.hub_server.errors import HubError

_KEYS: Final = 10_000  # clients in memory


class Rate:
    """Count requests in a token bucket per client, which holds a minute's requests; None means no limit."""

    def __init__(self, a_minute: int | None, what: str) -> None:
        self._a_minute = a_minute
        self._what = what
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, and since when

    def take(self, client: str) -> None:
        """Count a request. Raises HubError 429, with the seconds to wait, where the bucket is empty."""
        if self._a_minute is None:
            return
        moment = monotonic()
        left, before = self._buckets.pop(client, (float(self._a_minute), moment))
        left = min(self._a_minute, left + (moment - before) * self._a_minute / 60)
        self._buckets[client] = (max(left - 1, 0) if left >= 1 else left, moment)
        if len(self._buckets) > _KEYS:
            self._buckets.popitem(last=False)
        if left < 1:
            wait = max(1, math.ceil((1 - left) * 60 / self._a_minute))
            raise HubError(
                429,
                f"{self._what} may make {self._a_minute} requests a minute: try again in {wait} seconds",
                headers={"Retry-After": str(wait), "RateLimit": f'"api";r=0;t={wait}'},
            )


def network(address: str) -> str:
    """Return the key of a client by its address: for IPv6 the /64 network, since a client has all of its addresses."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return f"{int(parsed) >> 64:x}/64"
    return str(parsed)
