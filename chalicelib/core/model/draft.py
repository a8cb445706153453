"""A group and its autogroups as they would be, on the way to the scaler that is asked about them.

Both ends are one deployment's code; the values were checked where they were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum

from chalicelib.core.model.autogroup import Autogroup, AutogroupState, TicketGeneration
from chalicelib.core.model.endpoint_group import (
    EndpointGroup,
    FloorSchedule,
    GroupState,
    Interruptible,
    ParameterError,
    ScalingParams,
)


def draft_of(group: EndpointGroup, autogroups: Sequence[Autogroup]) -> dict[str, object]:
    """The draft as plain JSON values."""
    return {"group": asdict(group), "autogroups": [asdict(one) for one in autogroups]}


def parse_draft(value: object) -> tuple[EndpointGroup | None, tuple[Autogroup, ...]]:
    """The group and autogroups of a draft; none where there is no draft.

    Raises:
        ParameterError: it is no draft.
    """
    if value is None:
        return None, ()
    try:
        row = _mapping(value)
        autogroups = tuple(_autogroup(_mapping(one)) for one in _list(row["autogroups"]))
        return _group(_mapping(row["group"])), autogroups
    except (KeyError, TypeError, ValueError, ParameterError) as error:
        raise ParameterError(f"draft: {error}") from error


def _group(row: dict[str, object]) -> EndpointGroup:
    params = _mapping(row["params"])
    for name, default in asdict(ScalingParams()).items():
        if isinstance(default, StrEnum) and name in params:
            params[name] = type(default)(str(params[name]))
    changed = {
        "params": ScalingParams(**params),  # type: ignore[arg-type]  # __post_init__ checks
        "state": GroupState(str(row["state"])),
        "given": tuple(_list(row["given"])),
        "schedules": tuple(FloorSchedule(**_mapping(one)) for one in _list(row["schedules"])),  # type: ignore[arg-type]
    }
    return EndpointGroup(**{**row, **changed})  # type: ignore[arg-type]


def _autogroup(row: dict[str, object]) -> Autogroup:
    ticket, interruptible = row["ticket_override"], row["interruptible"]
    changed = {
        "state": AutogroupState(str(row["state"])),
        "interruptible": None if interruptible is None else Interruptible(str(interruptible)),
        "ticket_override": None if ticket is None else TicketGeneration(str(ticket)),
    }
    return Autogroup(**{**row, **changed})  # type: ignore[arg-type]


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{str(value)[:40]!r} is not an object")
    return dict(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{str(value)[:40]!r} is not a list")
    return list(value)
