"""A world's state as bytes: to go on from one moment many times, and to know equal moments.

Two worlds with the same digest have the same future, so what follows needs to be played only once.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from typing import Any

from fakes.worlds.world import World


def digest(world: World) -> str:
    """A digest of everything that a world's future depends on: not of its ports, not of its logs.

    Equal states may rarely have different digests (the bytes tell shared objects from equal ones).
    """
    ports = world.owner_ports
    logs = {"calls": world.market.calls, "events": ports.events, "series": ports.series}
    state = {name: value for name, value in vars(world).items() if name != "ports"}
    stream = io.BytesIO()
    _WithoutLogs(stream, {id(log): name for name, log in logs.items()}).dump(state)
    return hashlib.blake2b(stream.getvalue(), digest_size=16).hexdigest()


class _WithoutLogs(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, logs: Mapping[int, str]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._logs = logs

    def persistent_id(self, obj: Any) -> str | None:
        """What stands for a log instead of what is in it."""
        return self._logs.get(id(obj))
