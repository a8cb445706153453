"""Bodies and rows of `/endptjobs/` and `/autojobs/` (protocol.md E.1, E.2).

Bodies become changes of plain values: null and absent mean "unchanged". A field that neither we nor
the vendor's clients know is refused with the nearest name: a slip must not look like a change.
Bounds are the core's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.wire.json_body import (
    WireError,
    check_names,
    number,
    optional_flag,
    optional_number,
    optional_text,
    optional_whole,
    text,
    whole,
)
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.search_query import ADDED_BY_CLI, Clauses, parse_search_query

Value = float | int | str

NUMBER_PARAMS = (
    "min_load",
    "target_util",
    "cold_mult",
    "min_cold_load",
    "max_queue_time",
    "target_queue_time",
    "inactivity_timeout",
    "slo_target",
    "interruptible_share",
    "max_usd_per_hour",
    "max_usd_per_day",
    "max_usd_per_month",
)
COUNT_PARAMS = ("cold_workers", "max_workers")
TEXT_PARAMS = ("queue_order", "interruptible")
SCALING_PARAMS = (*NUMBER_PARAMS, *COUNT_PARAMS, *TEXT_PARAMS)

LEGACY_PARAMS = (
    "min_load",
    "target_util",
    "cold_mult",
    "min_cold_load",
    "cold_workers",
    "max_workers",
)
"""Scaling fields that peers send with an autogroup: kept and shown; the group's values rule."""

TIME_PARAMS = ("max_queue_time", "target_queue_time", "inactivity_timeout")
"""Peers' fields of groups, taken with an autogroup too; what only we have is refused there: a cap
that an owner sets at the wrong place would bind nothing."""

AUTO = "auto"
"""Written instead of a number: back to what holds when nothing is given."""

_PRINTED = re.compile("[!-~]{1,256}")

MAX_SCHEDULES = 32
SCHEDULE_NAMES = ("cron", "duration_s", "min_load", "timezone")
WrittenSchedule = tuple[str, float, float, str]
"""The values of SCHEDULE_NAMES."""

SENT_BY_PEERS = frozenset(
    {
        "client_id", "api_key", "autoscaler_instance", "endptjob_id", "autojob_id",
        "workergroup_id", "auto_delete_in_seconds", "auto_delete_due_24h", "docker_login_user",
        "docker_login_pass", "docker_login_repo",
    }
)  # fmt: skip
"""What the vendor's clients send besides (protocol.md E.1, E.2): taken, and of no effect."""

SHOWN_OF_ROWS = frozenset(
    {
        "id", "user_id", "created_at", "auto", "given", "revision", "search_query",
        "template_revision", "rollout_by", "exploration",
    }
)  # fmt: skip
"""What rows show besides what can be changed: a row that was read may be sent back changed, and its
`revision` refuses the change once somebody else has changed the row."""

ENDPOINT_NAMES = (
    "endpoint_name", "endpoint_state", "frozen", "shadow", "rotate_key", "schedules", "unset",
    *SCALING_PARAMS,
)  # fmt: skip
AUTOGROUP_NAMES = (
    "endpoint_id", "endpoint_name", "template_hash", "template_id", "search_params", "launch_args",
    "gpu_ram", "test_workers", "weight", "tier", "ticket", "interruptible", "state",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointChanges:
    """What a body asks of a group. None, and names that are missing, mean unchanged."""

    name: str | None = None
    state: str | None = None
    params: Mapping[str, Value] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()  # parameters that go back to what holds when absent
    frozen: bool | None = None
    shadow: bool | None = None
    rotate_key: bool | None = None  # the group's own key gets a new generation
    schedules: tuple[WrittenSchedule, ...] | None = None
    revision: int | None = None  # only if the group is still as it was read


@dataclass(frozen=True, kw_only=True, slots=True)
class AutogroupChanges:
    """What a body asks of an autogroup. None, and names that are missing, mean unchanged."""

    endpoint_id: int | None = None
    endpoint_name: str | None = None
    template_hash: str | None = None
    template_id: int | None = None
    search_text: str | None = None
    search_query: Clauses | None = None
    launch_args: str | None = None
    gpu_ram: float | int | None = None
    test_workers: int | None = None
    weight: float | int | None = None
    tier: int | None = None
    ticket: str | None = None  # a generation, or "auto"
    interruptible: str | None = None  # one of the group's values, or "auto"
    state: str | None = None
    revision: int | None = None  # only if the autogroup is still as it was read
    legacy_params: Mapping[str, float | int | None] = field(default_factory=dict)

    @property
    def has_cli_default_search(self) -> bool:
        """Whether the search is just what the vendor's CLI sends when it was given none."""
        return self.search_text is not None and self.search_text.split() == ADDED_BY_CLI.split()


def parse_endpoint_changes(body: Mapping[str, object]) -> EndpointChanges:
    """What a body of `/endptjobs/` asks for.

    Raises:
        WireError: a field has the wrong type; the message names it.
    """
    check_names("", body, ENDPOINT_NAMES, SENT_BY_PEERS | SHOWN_OF_ROWS)
    params: dict[str, Value] = {}
    unset = set(_names(body, "unset", SCALING_PARAMS))
    for name in SCALING_PARAMS:
        value = body.get(name)
        if value == AUTO:
            unset.add(name)
        elif value is not None:
            params[name] = text(name, value) if name in TEXT_PARAMS else _param(name, value)
    return EndpointChanges(
        name=optional_text(body, "endpoint_name"),
        state=optional_text(body, "endpoint_state"),
        params={name: value for name, value in params.items() if name not in unset},
        unset=frozenset(unset),
        frozen=optional_flag(body, "frozen"),
        shadow=optional_flag(body, "shadow"),
        rotate_key=optional_flag(body, "rotate_key"),
        schedules=_schedules(body.get("schedules")),
        revision=optional_whole(body, "revision"),
    )


def parse_autogroup_changes(body: Mapping[str, object]) -> AutogroupChanges:
    """What a body of `/autojobs/` asks for; search_params and launch_args are parsed here.

    Raises:
        WireError: a field has the wrong type or cannot be parsed; the message names it.
    """
    ignored = {*SENT_BY_PEERS, *SHOWN_OF_ROWS, *LEGACY_PARAMS, *TIME_PARAMS}
    check_names("", body, AUTOGROUP_NAMES, ignored)
    search = body.get("search_params")
    launch_args = optional_text(body, "launch_args")
    parse_launch_args(launch_args)
    return AutogroupChanges(
        endpoint_id=optional_whole(body, "endpoint_id"),
        endpoint_name=optional_text(body, "endpoint_name"),
        template_hash=_template_hash(body),
        template_id=optional_whole(body, "template_id"),
        search_text=None if search is None else search_text(search),
        search_query=None if search is None else parse_search_query(search),
        launch_args=launch_args,
        gpu_ram=optional_number(body, "gpu_ram"),
        test_workers=optional_whole(body, "test_workers"),
        weight=optional_number(body, "weight"),
        tier=optional_whole(body, "tier"),
        ticket=optional_text(body, "ticket"),
        interruptible=optional_text(body, "interruptible"),
        state=optional_text(body, "state"),
        revision=optional_whole(body, "revision"),
        legacy_params={
            name: _param(name, body[name]) for name in LEGACY_PARAMS if body.get(name) is not None
        },
    )


def _template_hash(body: Mapping[str, object]) -> str | None:
    """As it was copied: what stands around it is no part of it, and nothing stands in it."""
    written = optional_text(body, "template_hash")
    bare = None if written is None else written.strip()
    if bare and not _PRINTED.fullmatch(bare):
        raise WireError(
            f"template_hash: {written!r:.80} is no hash of a template; it has no blanks"
        )
    return bare


def search_text(search: object) -> str:
    """A search as text, whichever form it was written in."""
    if isinstance(search, str):
        return search.strip()
    if isinstance(search, list):
        return " ".join(str(part) for part in search)
    return json.dumps(search, sort_keys=True)


def _param(name: str, value: object) -> float | int:
    return whole(name, value) if name in COUNT_PARAMS else number(name, value)


def _names(body: Mapping[str, object], name: str, allowed: tuple[str, ...]) -> list[str]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise WireError(f"{name}: {str(value)[:80]!r} is not a list of parameter names")
    unknown = [item for item in value if item not in allowed]
    if unknown:
        raise WireError(f"{name}: {unknown[0][:80]!r} is not one of {', '.join(allowed)}")
    return value


def _schedules(value: object) -> tuple[WrittenSchedule, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_SCHEDULES:
        raise WireError(f"schedules: must be a list of at most {MAX_SCHEDULES} objects")
    return tuple(_schedule(item) for item in value)


def _schedule(item: object) -> WrittenSchedule:
    if not isinstance(item, Mapping):
        raise WireError(
            'schedules: write {"cron": "0 8 * * 1-5", "duration_s": 36000, "min_load": 9}'
        )
    check_names("schedules: ", item, SCHEDULE_NAMES)
    zone = optional_text(item, "timezone")
    return (
        text("schedules.cron", item.get("cron")),
        number("schedules.duration_s", item.get("duration_s")),
        number("schedules.min_load", item.get("min_load")),
        "UTC" if zone is None else zone,
    )
