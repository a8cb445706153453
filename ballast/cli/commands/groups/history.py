"""`rollback` and `export`: an autogroup as it was before, a group as a file."""

from __future__ import annotations

from collections.abc import Mapping

import click
import yaml

from ballast.cli.errors import CliError
from ballast.cli.lookup import find_autogroup, find_endpoint, list_autogroups
from ballast.cli.parameters import AUTOGROUP_FIELDS, ENDPOINT_FIELDS
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.changes import AUTOGROUPS, change_row
from ballast.cli.terminal.display import clean, moment

LAUNCHED = ("template_hash", "template_id", "search_params", "launch_args")
"""What `rollback` brings back: what is launched, and on which machines."""

KEPT_EVENTS = 200
DEFAULTS: Mapping[str, object] = {
    "weight": 1.0, "tier": 0, "gpu_ram": 24.0, "ticket": "auto", "launch_args": "",
    "search_params": "",
}  # fmt: skip


@click.command("rollback")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Show what it would do and cost, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def rollback(session: Session, name: str, dry_run: bool, yes: bool) -> None:
    """Give an autogroup the template, search and launch arguments that it had before.

    NAME is an autogroup's id or template hash, or an endpoint for its newest autogroup. The values
    come from the log of changes (`ballast logs --account`).

    \b
    ballast rollback 101
    """
    row = find_autogroup(session.server, name)
    found = _last_change(session, row)
    if found is None:
        raise CliError(
            f"no earlier template or search of autogroup {row['id']} is kept",
            fix="`ballast update autogroup ID --template_hash HASH`; of a rollout: "
            "`ballast promote ID` gives all requests to that one",
        )
    event, before = found
    session.notes.print(
        f"back to before {moment(event['at'])} ({clean(event.get('actor') or 'unknown')}): "
        + ", ".join(
            f"{one} {clean(row.get(one))} → {clean(value)}" for one, value in before.items()
        )
    )
    changed = change_row(session, AUTOGROUPS, row, before, is_sure=yes, is_dry=dry_run)
    if changed is not None:
        session.show(
            changed,
            f"Autogroup {row['id']} is as it was. Next: ballast update workers {row['id']}",
        )


@click.command("export")
@click.argument("name")
@connection_options
@pass_session
def export(session: Session, name: str) -> None:
    """Print a group and its autogroups as a file that `ballast apply -f` takes.

    \b
    ballast export TGI-Llama3 > group.yaml
    """
    endpoint = find_endpoint(session.server, name)
    autogroups = list_autogroups(session.server, int(endpoint["id"]))
    content = manifest_of(endpoint, autogroups)
    session.show(content, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip())


def manifest_of(endpoint: Json, autogroups: list[Json]) -> Json:
    """The file's content: what was given, and what says what to launch."""
    given = set(endpoint.get("given") or ())
    content: Json = {"endpoint_name": endpoint["endpoint_name"]}
    if endpoint.get("endpoint_state") not in (None, "active"):
        content["endpoint_state"] = endpoint["endpoint_state"]
    if endpoint.get("shadow"):
        content["shadow"] = True
    names = [one.name for one in ENDPOINT_FIELDS]
    content |= {n: endpoint[n] for n in names if n in given and endpoint.get(n) is not None}
    schedules = [
        {
            "cron": one["cron"],
            "duration": f"{one['duration_s']:g}s",
            "min_load": one["min_load"],
            **({"timezone": one["timezone"]} if one.get("timezone") else {}),
        }
        for one in endpoint.get("schedules") or ()
    ]
    if schedules:
        content["schedules"] = schedules
    content["autogroups"] = [_autogroup(row) for row in autogroups]
    return content


def _autogroup(row: Json) -> Json:
    kept = {one.name: row.get(one.name) for one in AUTOGROUP_FIELDS}
    said = {n: v for n, v in kept.items() if v is not None and DEFAULTS.get(n) != v}
    return {"id": row["id"], **said}


def _last_change(session: Session, row: Json) -> tuple[Json, Json] | None:
    """The newest change of what is launched, and the values before it."""
    events = session.server.get(
        "/api/v0/events", endpoint_id=row["endpoint_id"], kinds="changed_autogroup",
        limit=KEPT_EVENTS,
    )["events"]  # fmt: skip
    for event in events:
        facts = event.get("facts") or {}
        before, after = facts.get("before") or {}, facts.get("after") or {}
        if not str(event.get("message", "")).startswith(f"autogroup {row['id']} "):
            continue
        values = {n: before[n] for n in LAUNCHED if n in before and n in after}
        if values and all(row.get(n) == after[n] for n in values):
            return event, values
    return None


COMMANDS = (rollback, export)
