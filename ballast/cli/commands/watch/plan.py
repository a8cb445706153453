"""`plan` and `explain`: what the next round would do, and why the last ones did what they did."""

from __future__ import annotations

import re
from typing import BinaryIO

import click
from rich.console import RenderableType
from rich.text import Text

from ballast.cli.commands.watch.logs import event_lines
from ballast.cli.errors import CliError
from ballast.cli.lookup import find_endpoint
from ballast.cli.parameters import Finite
from ballast.cli.remote.server import WHAT_THERE_IS, Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.cost import caps_left, plan_lines
from ballast.cli.terminal.display import clean, moment, number, table, usd
from ballast.client.affinity import affinity_of
from ballast.client.affinity_secret import affinity_secret
from chalicelib.core.words import count
from chalicelib.wire.json_body import parse_json_object
from chalicelib.wire.token_cost import chat_cost, completion_cost, generate_cost

MAX_PAYLOAD = 64 << 20
COST_RULES = {"messages": chat_cost, "prompt": completion_cost, "inputs": generate_cost}
"""By what a payload holds."""


@click.command("plan")
@click.argument("name")
@connection_options
@pass_session
def plan(session: Session, name: str) -> None:
    """What the next round would do for a group, with offers and prices. Nothing is done.

    \b
    ballast plan TGI-Llama3
    """
    row = find_endpoint(session.server, name)
    answer = session.server.post("/api/v0/plan", {"endpoint_id": row["id"]})
    session.show(answer, *_render_plan(str(row["endpoint_name"]), answer))


@click.command("explain")
@click.argument("subject", default="last")
@click.option("--endpoint", help="Rounds of this endpoint only; the endpoint of a request.")
@click.option("--cost", type=Finite(min=0), help="Of a request; absent: 100.")
@click.option("--affinity", multiple=True, help="A key of a request; repeat, the special one last.")
@click.option("--prefix-cost", type=Finite(min=0), multiple=True, help="What each key saves.")
@click.option("--payload", type=click.File("rb"), help="JSON of a request: its keys are made here.")
@connection_options
@pass_session
def explain(
    session: Session,
    subject: str,
    endpoint: str | None,
    cost: float | None,
    affinity: tuple[str, ...],
    prefix_cost: tuple[float, ...],
    payload: BinaryIO | None,
) -> None:
    """Why a worker was rented, why a round did what it did, or where a request would go.

    \b
    ballast explain last                    the last decision
    ballast explain last --endpoint NAME    … of this group
    ballast explain 1234567                 a worker, by instance id
    ballast explain ROUND                   a round, by the id that `explain last` names
    ballast explain request --endpoint NAME --payload chat.json
                                            the worker that this request would get now, and why;
                                            the payload stays here, only its keys are sent
    """
    if not subject:
        raise click.UsageError("explain what? `ballast explain last` is the last decision")
    if subject == "request":
        asked: Json = {"cost": cost, "affinity": affinity, "prefix_cost": prefix_cost}
        answer = _explain_request(session, endpoint, asked, payload)
    elif cost is not None or affinity or prefix_cost or payload:
        raise click.UsageError(
            "--cost, --affinity, --prefix-cost and --payload are of `explain request`"
        )
    else:
        query: Json = (
            {"instance_id": subject} if re.fullmatch("[0-9]+", subject) else {"round": subject}
        )
        if endpoint is not None:
            query["endpoint_id"] = find_endpoint(session.server, endpoint)["id"]
        answer = _explained(session, query)
    parts: list[RenderableType] = [Text(clean(answer["subject"]), style="bold")]
    parts += [Text(clean(sentence)) for sentence in answer["sentences"]]
    if answer.get("candidates"):
        parts.append(table("Rejected", ("candidate",), [(one,) for one in answer["candidates"]]))
    if answer.get("events"):
        parts.append(
            table("What happened", ("time (UTC)", "who", "what"), event_lines(answer["events"]))
        )
    session.show(answer, *parts)


def _explained(session: Session, query: Json) -> Json:
    try:
        return session.server.get("/api/v0/explain", **query)
    except CliError as error:
        if error.fix == WHAT_THERE_IS:
            error.fix = (
                "`ballast explain last --endpoint NAME` names a group's last round; `ballast "
                "workers NAME` lists workers by id, `ballast logs NAME` tells what was done"
            )
        raise


def _explain_request(
    session: Session, endpoint: str | None, asked: Json, payload: BinaryIO | None
) -> Json:
    if endpoint is None:
        raise click.UsageError("explain request: give --endpoint NAME")
    body = {name: value for name, value in asked.items() if value not in (None, ())}
    if payload is not None:
        if body.keys() & {"affinity", "prefix_cost"}:
            raise click.UsageError("--payload makes the keys: give it, or --affinity, not both")
        body = {**_told_of(payload, endpoint), **body}
    body["endpoint_id"] = find_endpoint(session.server, endpoint)["id"]
    return session.server.post("/api/v0/explain", body)


def _told_of(file: BinaryIO, endpoint: str) -> Json:
    """What a client tells `/route/` of a payload: its cost and keys, and nothing of its text."""
    try:
        payload = parse_json_object(file.read(), max_bytes=MAX_PAYLOAD)
        secret = affinity_secret()
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--payload: {error}") from error
    rule = next((rule for name, rule in COST_RULES.items() if name in payload), None)
    cost = {} if rule is None else {"cost": rule(payload)}
    return {**cost, **affinity_of(secret, endpoint, payload).fields()}


def _render_plan(name: str, answer: Json) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(
            f"{clean(name)} at {moment(answer['at'])}: "
            f"wants {number(answer['hot_target'])} ready and "
            f"{number(answer['total_target'])} in all (set by {clean(answer['binding'])})"
        )
    ]
    if answer.get("is_shadow"):
        parts.append(Text("In shadow mode: this is told and not done.", style="bold yellow"))
    parts += plan_lines(answer)
    parts += [Text(clean(one), style="yellow") for one in answer.get("problems", ())]
    parts += [
        Text(
            f"autogroup {identity}: {count(offers['n'], 'offer')}, "
            f"{usd(offers['cheapest_usd_per_hour'], 3)} to "
            f"{usd(offers['dearest_usd_per_hour'], 3)} an hour"
        )
        for identity, offers in (answer.get("offers") or {}).items()
        if offers["n"]
    ]
    if not answer["actions"]:
        parts.append(Text(f"{usd(answer.get('usd_per_hour_now'), 3)}/h now and after."))
    parts += [*caps_left(answer), Text("Nothing was done.")]
    return parts


COMMANDS = (plan, explain)
