"""`rollout`, `promote`, `pause`, `resume`: how traffic is shared, and whether there is any."""

from __future__ import annotations

import click

from ballast.cli.commands.groups.autogroup import FROM_TEMPLATE
from ballast.cli.lookup import find_autogroup, find_endpoint
from ballast.cli.parameters import Finite
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.changes import AUTOGROUPS, ENDPOINTS, put_row
from ballast.cli.terminal.cost import confirm_cost
from ballast.cli.terminal.display import counts, number, share, table
from chalicelib.core.words import count


@click.command("rollout")
@click.argument("name")
@click.argument("percent", type=Finite(0, 100))
@connection_options
@pass_session
def rollout(session: Session, name: str, percent: float) -> None:
    """Give an autogroup this percentage of its group's requests; it is watched and rolled back.

    NAME is an autogroup's id or template hash, or an endpoint for its newest autogroup.

    \b
    ballast rollout TGI-Llama3 10
    """
    row = find_autogroup(session.server, name)
    body: Json = {"autogroup_id": row["id"], "percent": percent}
    session.server.post("/api/v0/rollout", body)
    _show_shares(session, row)


@click.command("promote")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def promote(session: Session, name: str, yes: bool) -> None:
    """Give an autogroup all requests; the others' workers drain and go. Asks first.

    \b
    ballast promote 102
    """
    row = find_autogroup(session.server, name)
    others = [
        one for one in _status(session, row["endpoint_id"])["autogroups"] if one["id"] != row["id"]
    ]
    n = sum(sum((one.get("workers_by_state") or {}).values()) for one in others)
    session.confirm(
        f"Promote autogroup {row['id']}? It gets all requests; "
        f"{count(n, 'worker')} of the others will drain and go.",
        is_sure=yes,
    )
    session.server.post(
        "/api/v0/promote", {"autogroup_id": row["id"], "revision": row.get("revision")}
    )
    _show_shares(session, row)


@click.command("pause")
@click.argument("name")
@click.option("--autogroup", is_flag=True, help="NAME is an autogroup (id or template hash).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def pause(session: Session, name: str, autogroup: bool, yes: bool) -> None:
    """Scale a group to zero but keep its stopped workers; requests wait. Undo with `resume`.

    Says who would be without a worker, and asks.

    \b
    ballast pause TGI-Llama3
    """
    row = _row(session, name, is_autogroup=autogroup)
    session.confirm(_what_stops(session, row, is_autogroup=autogroup), is_sure=yes)
    _set_state(session, name, row, is_autogroup=autogroup, is_paused=True)


@click.command("resume")
@click.argument("name")
@click.option("--autogroup", is_flag=True, help="NAME is an autogroup (id or template hash).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def resume(session: Session, name: str, autogroup: bool, yes: bool) -> None:
    """Let a paused group or autogroup work again; shows what that would start, and asks.

    \b
    ballast resume TGI-Llama3
    """
    row = _row(session, name, is_autogroup=autogroup)
    noun = "autogroup" if autogroup else "endpoint"
    change = {"state" if autogroup else "endpoint_state": "active"}
    body = {f"{noun}_id": row["id"], noun: change}
    confirm_cost(session, [body], f"Resume {name}?", is_sure=yes, always=False)
    _set_state(session, name, row, is_autogroup=autogroup, is_paused=False)


def _row(session: Session, name: str, *, is_autogroup: bool) -> Json:
    find = find_autogroup if is_autogroup else find_endpoint
    return find(session.server, name)


def _what_stops(session: Session, row: Json, *, is_autogroup: bool) -> str:
    """The question before a pause."""
    if is_autogroup:
        return (
            f"Pause autogroup {row['id']}? It gets no new requests, and nothing is rented for it."
        )
    group = _status(session, row["id"])
    n_ready = int((group.get("workers_by_state") or {}).get("ready", 0))
    return (
        f"Pause {row['endpoint_name']}? It serves nobody until it is resumed: "
        f"{count(n_ready, 'ready worker')} will drain and stop, "
        f"{count(group['queue']['n_waiting'], 'request')} waiting."
    )


def _status(session: Session, endpoint_id: int) -> Json:
    [group] = session.server.get("/api/v0/status", endpoint_id=endpoint_id)["groups"]
    return dict(group)


def _show_shares(session: Session, row: Json) -> None:
    group = _status(session, row["endpoint_id"])
    columns = (">id", "?template", "search", ">weight", "?>tier", "state", ">share", "workers")
    lines = [
        (
            one["id"],
            one.get("template_hash"),
            one.get("search_params") or FROM_TEMPLATE,
            number(one.get("weight")),
            number(one.get("tier")),
            one.get("state"),
            share(one.get("share")),
            counts(one.get("workers_by_state")),
        )
        for one in group["autogroups"]
    ]
    session.show(group["autogroups"], table(f"Shares of {row['endpoint_name']}", columns, lines))


def _set_state(
    session: Session, name: str, row: Json, *, is_autogroup: bool, is_paused: bool
) -> None:
    if is_autogroup:
        path, field, state = AUTOGROUPS, "state", "paused" if is_paused else "active"
    else:
        path, field, state = ENDPOINTS, "endpoint_state", "suspended" if is_paused else "active"
    put_row(session, path, row, {field: state})
    session.show({"id": row["id"], "state": state}, f"{name} is {state}")


COMMANDS = (rollout, promote, pause, resume)
