"""The routing view as stored: a JSON header, then one binary column per field.

Layout: magic, header length, header, columns of n values each (little-endian), then the urls joined
by newlines. 250 workers take about 23 kB.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.core.model.usage import Use
from chalicelib.core.routing.admission import ALWAYS, NEVER, Cutoff, Cutoffs
from chalicelib.core.routing.directory import facts_from_json, facts_to_json
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.queue_place import QueueProfile
from chalicelib.core.routing.view import RoutingView

_MAGIC = b"BV2"
_PREFIX = struct.Struct("<3sI")
_GENERATIONS = "ABCD"
_BID, _READS_KEYS = 0x80, 0x40
"""Beside the generation; a version that knows one of them not refuses the view."""
_FLAGS = _BID | _READS_KEYS


class PackedViewError(ValueError):
    """The bytes are not a view that this version understands."""


def pack_view(view: RoutingView) -> bytes:
    """One shard as stored."""
    key_ids = sorted({w.key_id for w in view.workers})
    header = json.dumps(
        {**_header(view), "n": len(view.workers), "keys": key_ids}, separators=(",", ":")
    ).encode()
    return b"".join((_PREFIX.pack(_MAGIC, len(header)), header, *_columns(view.workers, key_ids)))


def unpack_view(blob: bytes) -> RoutingView:
    """One shard from what was stored.

    Raises:
        PackedViewError: another version wrote it, or it is cut off.
    """
    try:
        magic, n_header = _PREFIX.unpack_from(blob)
        if magic != _MAGIC:
            raise PackedViewError(f"unknown view format {magic!r}")
        start = _PREFIX.size + n_header
        header = json.loads(blob[_PREFIX.size : start])
        return _view(header, _workers(blob, start, header))
    except (struct.error, LookupError, ValueError, TypeError, AttributeError) as error:
        raise PackedViewError(f"unreadable view: {error}") from error


def _columns(workers: Sequence[RoutableWorker], key_ids: Sequence[str]) -> list[bytes]:
    n = len(workers)
    key_index = {key_id: i for i, key_id in enumerate(key_ids)}
    return [
        struct.pack(f"<{n}q", *(w.instance_id for w in workers)),
        struct.pack(f"<{n}d", *(w.granted_load for w in workers)),
        struct.pack(f"<{n}d", *(w.free_at for w in workers)),
        struct.pack(f"<{n}d", *(w.headroom_s for w in workers)),
        struct.pack(f"<{n}d", *(w.perf for w in workers)),
        struct.pack(f"<{n}d", *(w.usd_per_hour for w in workers)),
        struct.pack(f"<{n}H", *(w.autogroup_index for w in workers)),
        struct.pack(f"<{n}H", *(key_index[w.key_id] for w in workers)),
        struct.pack(f"<{n}B", *(_generation_byte(w) for w in workers)),
        b"".join(bytes.fromhex(w.boot_id or "0" * 16) for w in workers),
        b"".join(bytes.fromhex(w.certificate_sha256 or "0" * 64) for w in workers),
        "\n".join(w.url for w in workers).encode(),
    ]


def _workers(blob: bytes, start: int, header: Mapping[str, Any]) -> tuple[RoutableWorker, ...]:
    n, key_ids, built_at = header["n"], header["keys"], header["built_at"]
    columns: list[tuple[Any, ...]] = []
    at = start
    for code in ("q", "d", "d", "d", "d", "d", "H", "H", "B"):
        column = struct.Struct(f"<{n}{code}")
        columns.append(column.unpack_from(blob, at))
        at += column.size
    boots = _hex_or_none(blob[at : at + 8 * n], 8)
    at += 8 * n
    certificates = _hex_or_none(blob[at : at + 32 * n], 32)
    urls = blob[at + 32 * n :].decode().split("\n") if n else []
    if len(urls) != n:
        raise PackedViewError("the urls do not match the workers")
    return tuple(
        RoutableWorker(
            instance_id=instance_id,
            granted_load=granted_load,
            free_at=free_at,
            known_at=built_at,
            headroom_s=headroom_s,
            perf=perf,
            usd_per_hour=usd_per_hour,
            autogroup_index=autogroup_index,
            key_id=key_ids[key],
            generation=_GENERATIONS[generation & ~_FLAGS],
            is_bid=bool(generation & _BID),
            reads_keys=bool(generation & _READS_KEYS),
            boot_id=boot_id,
            certificate_sha256=certificate,
            url=url,
        )
        for (
            instance_id,
            granted_load,
            free_at,
            headroom_s,
            perf,
            usd_per_hour,
            autogroup_index,
            key,
            generation,
            boot_id,
            certificate,
            url,
        ) in zip(*columns, boots, certificates, urls, strict=True)
    )


def _generation_byte(worker: RoutableWorker) -> int:
    flags = (_BID if worker.is_bid else 0) | (_READS_KEYS if worker.reads_keys else 0)
    return _GENERATIONS.index(worker.generation) | flags


def _hex_or_none(column: bytes, size: int) -> list[str]:
    """Each value of a column in hex; zeros stand for none."""
    n_chars, none = 2 * size, "00" * size
    digits = column.hex()
    values = [digits[at : at + n_chars] for at in range(0, len(digits), n_chars)]
    return ["" if value == none else value for value in values]


def _header(view: RoutingView) -> dict[str, object]:
    queue = view.queue
    return {
        "group": facts_to_json(view.group),
        "built_at": view.built_at,
        "n_by_state": dict(view.n_by_state),
        "grants_per_s": view.grants_per_s,
        "usual_cost": view.usual_cost,
        "came_share": view.came_share,
        "uses": [[key, n, _short(mean), _short(high)] for key, n, mean, high in view.uses],
        "n_waiting": dict(view.n_waiting),
        "spared": None if view.spared_share is None else _short(view.spared_share),
        "cutoffs": {
            key: [
                _bound(c.admit_before),
                _bound(c.overdue_admit_before),
                c.hold_share,
                c.typical_cost,
            ]
            for key, c in view.cutoffs.by_key.items()
        },
        "queue": [
            [list(point) for point in queue.points],
            queue.queued,
            queue.capacity,
            queue.capacity_at,
            queue.coming_capacity,
            queue.typical_cost,
        ],
    }


def _view(header: Mapping[str, Any], workers: tuple[RoutableWorker, ...]) -> RoutingView:
    points, queued, capacity, capacity_at, coming, typical_cost = header["queue"]
    _numbers((queued, capacity, capacity_at or 0.0, coming, typical_cost))
    n_by_state, n_waiting = header["n_by_state"], header.get("n_waiting", {})
    _numbers((*n_by_state.values(), *n_waiting.values()))
    built_at, grants_per_s, usual_cost, came_share, spared = _numbers(
        (
            header["built_at"],
            header["grants_per_s"],
            header.get("usual_cost", 0.0),  # an older version wrote none
            header.get("came_share", 1.0),
            header.get("spared") or 0.0,
        )
    )
    return RoutingView(
        group=facts_from_json(header["group"]),
        built_at=built_at,
        n_by_state=n_by_state,
        grants_per_s=grants_per_s,
        usual_cost=usual_cost,
        came_share=came_share,
        n_waiting=n_waiting,
        spared_share=None if header.get("spared") is None else spared,
        uses=tuple(_use(one) for one in header.get("uses", ())),
        cutoffs=Cutoffs(by_key={key: _cutoff(one) for key, one in header["cutoffs"].items()}),
        queue=QueueProfile(
            points=tuple(_point(point) for point in points),
            queued=queued,
            capacity=capacity,
            capacity_at=capacity_at,
            coming_capacity=coming,
            typical_cost=typical_cost,
        ),
        workers=workers,
    )


def _use(stored: Sequence[Any]) -> Use:
    key, n, mean, high = _numbers(stored)
    return key, n, mean, high


def _point(point: Sequence[Any]) -> tuple[float, int, float]:
    at, n, load = _numbers(point)
    return at, n, load


def _cutoff(stored: Sequence[Any]) -> Cutoff:
    admit, overdue, hold, typical = _numbers(ALWAYS if one is None else one for one in stored)
    return Cutoff(
        admit_before=admit, overdue_admit_before=overdue, hold_share=hold, typical_cost=typical
    )


def _numbers(values: Iterable[Any]) -> tuple[Any, ...]:
    """These, if they are numbers: a router computes with them at once.

    Raises:
        PackedViewError: one is of another type.
    """
    found = tuple(values)
    if not {*map(type, found)} <= {int, float}:
        raise PackedViewError(f"{found!r} are not numbers")
    return found


def _short(value: float) -> float:
    """Four digits are enough for a mean."""
    return float(f"{value:.4g}")


def _bound(cutoff: float) -> float | None:
    """JSON knows no infinity: None is for ever, and nobody was seen before the epoch."""
    if cutoff == ALWAYS:
        return None
    return 0.0 if cutoff == NEVER else cutoff
