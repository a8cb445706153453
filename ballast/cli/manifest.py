"""`group.yaml`: a group and its autogroups as they should be, checked, and compared to what is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import yaml

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.parameters import AUTOGROUP_FIELDS, DURATION, ENDPOINT_FIELDS, is_plain_number
from ballast.cli.remote.server import Json
from chalicelib.core.model.endpoint_group import (
    FloorSchedule,
    ParameterError,
    ScalingParams,
    check_count,
    check_name,
    check_number,
)
from chalicelib.core.model.schedules import check_schedule

_SCALING_NAMES = tuple(one.name for one in ENDPOINT_FIELDS)
_ENDPOINT_NAMES = ("endpoint_name", "endpoint_state", "shadow", "schedules", *_SCALING_NAMES)
_AUTOGROUP_NAMES = ("id", "state", *(one.name for one in AUTOGROUP_FIELDS))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file asks for: bodies as the API takes them."""

    endpoint: Mapping[str, Any]
    autogroups: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """One call that would be made, with what it changes: (name, before, after)."""

    verb: str  # "create", "update" or "delete"
    noun: str  # "endpoint" or "autogroup"
    identity: int | None
    title: str
    body: Mapping[str, Any]
    fields: Sequence[tuple[str, object, object]] = field(default_factory=tuple)
    revision: int | None = None  # of the row that it was compared with


class _EachOnce(yaml.SafeLoader):
    """YAML in which a name given twice is a slip, and not the last of both."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping's values by name."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise yaml.constructor.ConstructorError(
                    problem=f"{name!r} is given twice", problem_mark=node.value[at][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _plain_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    """A number as everybody reads it: YAML has `1_0` for ten, `010` for eight and `1:30` for 90."""
    text = str(node.value)
    if not is_plain_number(text) or re.match(r"[+-]?0[0-9]", text):
        raise yaml.constructor.ConstructorError(
            problem=f"{text!r} is no plain number; write one such as 2.5, or a text in quotes",
            problem_mark=node.start_mark,
        )
    return float(text) if node.tag.endswith(":float") else int(text)


for tag in ("int", "float"):
    _EachOnce.add_constructor(f"tag:yaml.org,2002:{tag}", _plain_number)


def parse_manifest(text: str) -> Manifest:
    """Read and check a file's text.

    Raises:
        CliError: naming the field, the bad value and what is allowed.
    """
    try:
        content = _EachOnce(text).get_single_data()
    except yaml.YAMLError as error:
        raise _bad(f"not YAML: {error}") from error
    if not isinstance(content, dict):
        raise _bad("the file must be a mapping that starts with endpoint_name: NAME")
    content = dict(content)
    autogroups = content.pop("autogroups", None) or []
    if not isinstance(autogroups, list) or not all(isinstance(one, dict) for one in autogroups):
        raise _bad("autogroups must be a list of mappings")
    _check_names("", content, _ENDPOINT_NAMES)
    for one in autogroups:
        _check_names("autogroups: ", one, _AUTOGROUP_NAMES)
    for name, value in [pair for one in (content, *autogroups) for pair in one.items()]:
        if isinstance(value, date):
            raise _bad(f"{name}: {value} is a date in YAML; write it in quotes")
    try:
        endpoint = _checked_endpoint(content)
        return Manifest(endpoint, tuple(_checked_autogroup(one) for one in autogroups))
    except (ParameterError, TypeError) as error:
        raise _bad(str(error)) from error


def compare_manifest(
    manifest: Manifest, endpoint: Json | None, autogroups: Sequence[Json], *, prunes: bool
) -> Sequence[Change]:
    """The changes that make what is into what should be; none if it is so already.

    An autogroup of the file means the one with its `id`, else one with the same template and
    search, else a new one. Those that the file does not mean are deleted only if `prunes`.
    """
    name = str(manifest.endpoint["endpoint_name"])
    changes = [_change("endpoint", name, manifest.endpoint, endpoint)]
    left = list(autogroups)
    for wanted in manifest.autogroups:
        body = {key: value for key, value in wanted.items() if key != "id"}
        present = _take_match(wanted, left)
        title = (
            str(present["id"]) if present else str(wanted.get("template_hash", "from launch_args"))
        )
        if present is None:
            body["endpoint_name"] = name
        changes.append(_change("autogroup", title, body, present))
    if prunes:
        changes += [
            Change("delete", "autogroup", int(r["id"]), f"autogroup {r['id']}", {}) for r in left
        ]
    return [one for one in changes if one.verb != "update" or one.fields]


def _checked_endpoint(content: Mapping[str, Any]) -> Json:
    body = {key: value for key, value in content.items() if value is not None}
    check_name("endpoint_name", body.get("endpoint_name"))
    if "max_usd_per_hour" not in body:
        raise ParameterError(
            "max_usd_per_hour is missing: a group in a file must say what it may cost, such as 1.0"
        )
    ScalingParams(**{key: body[key] for key in _SCALING_NAMES if key in body})
    if "schedules" in body:
        body["schedules"] = [_checked_schedule(one) for one in body["schedules"]]
    return body


def _checked_schedule(content: Any) -> Json:
    needed, allowed = {"cron", "duration", "min_load"}, {"cron", "duration", "min_load", "timezone"}
    if not isinstance(content, dict) or not needed <= set(content) <= allowed:
        raise ParameterError(
            "schedules: each needs cron, duration and min_load, and may have a timezone"
        )
    duration_s = DURATION.convert(content["duration"], None, None)
    body = {"cron": str(content["cron"]), "duration_s": duration_s, "min_load": content["min_load"]}
    body["timezone"] = str(content.get("timezone", "UTC"))
    check_schedule(FloorSchedule(**body))
    return body


def _checked_autogroup(content: Mapping[str, Any]) -> Json:
    body = {key: value for key, value in content.items() if value is not None}
    if not {"template_hash", "template_id", "launch_args"} & body.keys():
        raise ParameterError("autogroups: each needs a template_hash (or launch_args)")
    check_number("weight", body.get("weight", 1.0), 0, 1e6)
    check_count("tier", body.get("tier", 0), 0, 100)
    check_count("test_workers", body.get("test_workers", 3), 0, 100)
    return body


def _check_names(where: str, content: Mapping[Any, object], known: Sequence[str]) -> None:
    for name in content:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
            raise _bad(f"{where}{name!r} is not a parameter{hint}")


def _take_match(wanted: Mapping[str, Any], left: list[Json]) -> Json | None:
    def key(row: Mapping[str, Any]) -> tuple[object, ...]:
        return tuple(row.get(name) or "" for name in ("template_hash", "search_params"))

    for index, row in enumerate(left):
        is_meant = row["id"] == wanted["id"] if "id" in wanted else key(row) == key(wanted)
        if is_meant:
            return left.pop(index)
    if "id" in wanted:
        raise _bad(f"autogroups: there is no autogroup {wanted['id']} in this endpoint")
    return None


def _change(noun: str, title: str, body: Mapping[str, Any], present: Json | None) -> Change:
    title = f"{noun} {title}"
    if present is None:
        fields = tuple((name, None, value) for name, value in body.items())
        return Change("create", noun, None, title, body, fields)
    differing = {name: value for name, value in body.items() if present.get(name) != value}
    fields = tuple((name, present.get(name), value) for name, value in differing.items())
    seen = present.get("revision")
    return Change("update", noun, int(present["id"]), title, differing, fields, seen)


def _bad(message: str) -> CliError:
    return CliError(message, code=ExitCode.USAGE, fix="docs/operating.md shows a complete file")
