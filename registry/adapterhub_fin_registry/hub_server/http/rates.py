"""How many requests a minute a client may make."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Final

from adapterhub_fin_registry.hub_server.errors import HubError

_KEYS: Final = 10_000  # clients that are remembered


class Rate:
    """A bucket for each client, which holds a minute's requests and fills evenly; None allows any number."""

    def __init__(self, a_minute: int | None, what: str) -> None:
        self._a_minute = a_minute
        self._what = what
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when it was

    def take(self, client: str) -> None:
        """Count a request; raises HubError 429, which says when to come again, where the bucket is empty."""
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
    """The client that an address belongs to: of IPv6 everybody has 2**64, which are one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return f"{int(found) >> 64:x}/64"
    return str(found)
