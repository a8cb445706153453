"""`create|show|update|delete endpoint`."""

from __future__ import annotations

import click

from ballast.cli.lookup import find_endpoint, list_endpoints, without_key
from ballast.cli.parameters import ENDPOINT_FIELDS, field_options, given, parse_schedule
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.changes import ENDPOINTS, change_row, delete_row, print_notes
from ballast.cli.terminal.cost import confirm_cost
from ballast.cli.terminal.display import cell, duration, moment, number, table, usd
from chalicelib.core.words import count

CAPS = ("max_usd_per_hour", "max_usd_per_day", "max_usd_per_month")
UNSET = dict.fromkeys(CAPS, "account's") | {"inactivity_timeout": "the hold alone"}
"""What holds where nothing was given, and Ballast does not decide by itself."""

STATES = ("active", "suspended", "stopped")


@click.command("endpoint")
@click.option("--endpoint-name", required=True, help="What clients will call it.")
@field_options(ENDPOINT_FIELDS)
@click.option("--schedule", multiple=True, help="Floor 'CRON;DURATION;MIN_LOAD[;TIMEZONE]'.")
@click.option("--shadow", is_flag=True, help="Decide and log, act on nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, even if it could cost much.")
@connection_options
@pass_session
def create_endpoint(
    session: Session, /, schedule: tuple[str, ...], shadow: bool, yes: bool, **values: object
) -> None:
    """Create an endpoint group.

    \b
    ballast create endpoint --endpoint_name "TGI-Llama3" --cold_mult 1.0 \\
        --min_load 100 --target_util 0.9 --max_workers 20 --cold_workers 5
    """
    body = given(values)
    if schedule:
        body["schedules"] = [parse_schedule(text) for text in schedule]
    if shadow:
        body["shadow"] = True
    confirm_cost(session, [{"endpoint": body}], "Create it?", is_sure=yes, always=False)
    answer = session.server.post("/api/v0/endptjobs/", body)
    print_notes(session, answer)
    identity = answer["result"]
    row = session.server.get(f"/api/v0/endptjobs/{identity}/")["result"]
    show_one(session, row, f"Created endpoint {row['endpoint_name']} (id {identity})")


@click.command("endpoint")
@click.argument("name", required=False)
@connection_options
@pass_session
def show_endpoint(session: Session, name: str | None) -> None:
    """Show one endpoint group with every parameter, or all in a table.

    \b
    ballast show endpoints
    ballast show endpoint TGI-Llama3 --json
    """
    if name is not None:
        row = find_endpoint(session.server, name)
        show_one(session, row, f"Endpoint {row['endpoint_name']} (id {row['id']})")
        return
    rows = [without_key(row) for row in list_endpoints(session.server)]
    session.show(
        rows,
        table(
            count(len(rows), "endpoint"),
            (">id", "name", "state", ">min load", ">max workers", ">$/h cap", "created (UTC)"),
            [
                (
                    row["id"],
                    row["endpoint_name"],
                    row.get("endpoint_state"),
                    number(row.get("min_load")),
                    number(row.get("max_workers")),
                    usd(row.get("max_usd_per_hour")),
                    moment(row.get("created_at")),
                )
                for row in rows
            ],
        ),
    )


@click.command("endpoint")
@click.argument("name")
@click.option("--endpoint-name", help="Rename it.")
@field_options(ENDPOINT_FIELDS)
@click.option("--endpoint-state", "--state", type=click.Choice(STATES), help="What you want of it.")
@click.option("--schedule", multiple=True, help="Replace the floors: 'CRON;DURATION;MIN_LOAD'.")
@click.option("--no-schedules", is_flag=True, help="Remove the floors.")
@click.option("--unset", multiple=True, help="Parameter to make automatic again.")
@click.option("--shadow/--no-shadow", default=None, help="Only decide and log.")
@click.option("--rotate-key", is_flag=True, help="New route key; the old one stops working.")
@click.option("--dry-run", is_flag=True, help="Show what it would do and cost, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, even if it could cost much.")
@connection_options
@pass_session
def update_endpoint(session: Session, /, name: str, **values: object) -> None:
    """Change an endpoint group; in force at the next round.

    \b
    ballast update endpoint TGI-Llama3 --target_util 0.8 --max_usd_per_hour 3
    ballast update endpoint TGI-Llama3 --schedule '0 8 * * mon-fri;10h;200'
    """
    row = find_endpoint(session.server, name)
    is_sure, is_dry = bool(values.pop("yes")), bool(values.pop("dry_run"))
    body = _update_body(values)
    changed = change_row(session, ENDPOINTS, row, body, is_sure=is_sure, is_dry=is_dry)
    if changed is None:
        return
    show_one(session, changed, f"Updated endpoint {changed['endpoint_name']}", before=row)


@click.command("endpoint")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def delete_endpoint(session: Session, name: str, yes: bool) -> None:
    """Delete an endpoint group; its workers are drained and destroyed.

    `ballast destroy NAME --wait` does the same and ends once no instance is left.

    \b
    ballast delete endpoint TGI-Llama3
    """
    row = find_endpoint(session.server, name)
    delete_row(session, ENDPOINTS, row, str(row["endpoint_name"]), is_sure=yes)


def show_one(session: Session, row: Json, title: str, *, before: Json | None = None) -> None:
    """Print every parameter, where its value comes from, and what changed."""
    row = without_key(row)
    was_given = set(row.get("given", ()))
    lines: list[tuple[object, ...]] = []
    for field in ENDPOINT_FIELDS:
        value = row.get(field.name)
        is_automatic = value is None and field.name not in UNSET
        origin = "given" if field.name in was_given else "auto" if is_automatic else "default"
        changed = before is not None and before.get(field.name) != value
        lines.append(
            (
                field.name,
                cell(
                    UNSET.get(field.name, "auto") if value is None else value,
                    "bold" if changed else "",
                ),
                origin,
            )
        )
    lines.append(("endpoint_state", row.get("endpoint_state"), ""))
    lines += [
        (
            "schedule",
            f"{one['cron']} {one.get('timezone', 'UTC')} for {duration(one['duration_s'])}: "
            f"min_load {one['min_load']:g}",
            "given",
        )
        for one in row.get("schedules", ())
    ]
    session.show(row, table(title, ("parameter", ">in force", "origin"), lines))


def _update_body(values: dict[str, object]) -> Json:
    texts = values.pop("schedule")
    no_schedules, unset, rotates = (values.pop(n) for n in ("no_schedules", "unset", "rotate_key"))
    body = given(values)
    if isinstance(texts, tuple) and (texts or no_schedules):
        body["schedules"] = [parse_schedule(text) for text in texts]
    if isinstance(unset, tuple) and unset:
        body["unset"] = [name.replace("-", "_") for name in unset]
    if rotates:
        body["rotate_key"] = True
    return body


COMMANDS = {
    "create": create_endpoint,
    "show": show_endpoint,
    "update": update_endpoint,
    "delete": delete_endpoint,
}
