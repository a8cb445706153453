"""A world's state as bytes: to go on from one moment many times, and to know equal moments.

Two worlds with the same digest have the same future, so what follows needs to be played only once.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from chalicelib.core.codec import to_json
from chalicelib.core.scaling.round_memory import BLOB_NAME
from fakes.worlds.world import World

TOLD = frozenset({"at", "written_by", "troubles", "minutes", "spend"})
"""Of the scaler's memory: what decides what is told and drawn, and nothing that is done."""


def digest(world: World) -> str:
    """A digest of everything that decides what a world will do: not of its ports, logs and counts.

    Equal states may rarely have different digests (the bytes tell shared objects from equal ones).
    """
    ports, ledger = world.owner_ports, world.ledger
    memory, account = ledger.read_blob(BLOB_NAME), ledger.account_now
    asked = [getattr(getattr(ports, spec.name), "calls", None) for spec in fields(ports)]
    stands_for = {
        **{id(calls): "calls" for calls in (*asked, world.market.calls) if calls is not None},
        id(world.poke.pokes): "pokes",
        id(ports.events): "events",
        id(ports.series): "series",
        id(account): to_json(replace(account, version=0)),  # of writes: it tells nothing else
        id(memory): _what_is_done(memory),
    }
    if world.ports is not ports:  # clients know the world, and so what breaks its calls
        stands_for[id(world.ports)] = "ports"
    state = {name: value for name, value in vars(world).items() if name != "ports"}
    stream = io.BytesIO()
    _WithoutLogs(stream, stands_for).dump(state)
    return hashlib.blake2b(stream.getvalue(), digest_size=16).hexdigest()


def _what_is_done(memory: bytes | None) -> str:
    plain = json.loads(memory or b"{}")
    kept = {name: value for name, value in plain.items() if name not in TOLD}
    return json.dumps(kept, sort_keys=True)


class _WithoutLogs(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, stands_for: Mapping[int, str]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._stands_for = stands_for

    def persistent_id(self, obj: Any) -> str | None:
        """What stands for a log, or for a value without its volatile parts."""
        return self._stands_for.get(id(obj))
