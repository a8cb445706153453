"""`plan` and `explain`: what the next round would do, and why the last ones did what they did."""

from __future__ import annotations

import click
from rich.console import RenderableType
from rich.text import Text

from ballast.cli.commands.logs import event_lines
from ballast.cli.lookup import find_endpoint
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.cost import caps_left, plan_lines
from ballast.cli.terminal.display import clean, count, moment, number, table, usd


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
@click.option("--endpoint", help="Rounds of this endpoint only.")
@connection_options
@pass_session
def explain(session: Session, subject: str, endpoint: str | None) -> None:
    """Why a worker was rented, or why a round did what it did.

    \b
    ballast explain last                    the last decision
    ballast explain last --endpoint NAME    … of this group
    ballast explain 1234567                 a worker, by instance id
    ballast explain ROUND                   a round, by the id that logs show
    """
    query: Json = {"instance_id": subject} if subject.isdigit() else {"round": subject}
    if endpoint is not None:
        query["endpoint_id"] = find_endpoint(session.server, endpoint)["id"]
    answer = session.server.get("/api/v0/explain", **query)
    parts: list[RenderableType] = [Text(clean(answer["subject"]), style="bold")]
    parts += [Text(clean(sentence)) for sentence in answer["sentences"]]
    if answer.get("candidates"):
        parts.append(table("Rejected", ("candidate",), [(one,) for one in answer["candidates"]]))
    if answer.get("events"):
        parts.append(
            table("What happened", ("time (UTC)", "who", "what"), event_lines(answer["events"]))
        )
    session.show(answer, *parts)


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
    ]
    if not answer["actions"]:
        parts.append(Text(f"{usd(answer.get('usd_per_hour_now'), 3)}/h now and after."))
    parts += [*caps_left(answer), Text("Nothing was done.")]
    return parts


COMMANDS = (plan, explain)
