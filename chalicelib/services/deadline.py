"""A route's time: what the database takes too long for is left out, so that an answer comes."""

from __future__ import annotations

from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import StorageUnavailableError

CALLS_UNTIL_S = 0.8
"""No call is begun later than this after a request came in. The last one may take 3 s (time-outs of
`adapters/aws/clients.py`), and old clients wait 4 s (protocol.md A.6)."""


def check_time(ports: HotPorts, asked_at: float) -> None:
    """Call it before each call that a request of `asked_at` makes.

    Raises:
        StorageUnavailableError: the calls before took too long.
    """
    if ports.clock.now() - asked_at > CALLS_UNTIL_S:
        raise StorageUnavailableError("too slow for this request")
