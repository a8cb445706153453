"""`status` and `watch`: is it healthy, what does it cost, why did it last act."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import find_endpoint
from ballast.cli.parameters import Finite
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import (
    age,
    clean,
    counts,
    duration,
    number,
    share,
    state_cell,
    table,
    usd,
)
from chalicelib.core.words import count


@click.command("status")
@click.argument("name", required=False)
@connection_options
@pass_session
def status(session: Session, name: str | None) -> None:
    """One screen: health, cost, load and the last decision of every group.

    \b
    ballast status
    ballast status TGI-Llama3 --json
    """
    answer = read_status(session, name)
    session.show(answer, *render(answer))


@click.command("watch")
@click.argument("name", required=False)
@click.option(
    "--interval",
    type=Finite(0.5, 60),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@connection_options
@pass_session
def watch(session: Session, name: str | None, interval: float) -> None:
    """`status` that stays on the screen and follows what happens; Ctrl-C ends it.

    \b
    ballast watch
    ballast watch TGI-Llama3 --interval 5
    """
    if session.wants_json:
        raise click.UsageError("watch is for people; programs call `ballast status --json`")
    if not session.console.is_terminal:
        while True:
            session.console.print(*_look(session, name), sep="\n")
            time.sleep(interval)
    with Live(console=session.console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(Group(*_look(session, name)), refresh=True)
            time.sleep(interval)


def read_status(session: Session, name: str | None) -> Json:
    """The status of all groups, or of one."""
    if name is None:
        return session.server.get("/api/v0/status")
    row = find_endpoint(session.server, name)
    return session.server.get("/api/v0/status", endpoint_id=row["id"])


def render(answer: Json) -> Sequence[RenderableType]:
    """The status as text and a table."""
    groups = answer["groups"]
    rows = [
        (
            group["endpoint_name"],
            state_cell(group["health"]),
            group["endpoint_state"] + (", frozen" if group["is_frozen"] else ""),
            number(group["load"]["arriving"]),
            number(group["load"]["ready_capacity"]),
            number(group["load"]["cold_capacity"]),
            f"{duration(group['queue']['queue_time_s'])} of {duration(group['queue']['target_s'])}",
            f"{group['queue']['n_waiting']}",
            counts(group["workers_by_state"]),
            usd(group["money"]["usd_per_hour"]),
            usd(group["money"]["spent_today_usd"]),
        )
        for group in groups
    ]
    columns = (
        "endpoint", "health", "?state", "?>load/s", ">ready", "?>stopped reserve", ">queue",
        ">waiting", "workers", ">$/h", "?>today",
    )  # fmt: skip
    parts: list[RenderableType] = [_account_line(answer)]
    if silence := answer["account"].get("scaler", {}).get("silence"):
        parts.append(Text(clean(silence), style="bold red"))
    parts.append(table("", columns, rows))
    parts += [line for group in groups for line in _sentences(group, float(answer["now"]))]
    if not groups:
        parts.append(Text("No endpoint yet: ballast create endpoint --endpoint_name NAME"))
    return parts


def _look(session: Session, name: str | None) -> Sequence[RenderableType]:
    try:
        return render(read_status(session, name))
    except CliError as error:
        if error.code is not ExitCode.UNREACHABLE:
            raise
        return [Text(f"{error.message}; trying again", style="red")]


def _account_line(answer: Json) -> Text:
    account, inventory = answer["account"], answer["account"]["inventory"]
    line = Text()
    if answer.get("is_simulated"):
        line.append("SIMULATED MARKET, no real money  ", style="magenta")
    if account["is_panicking"]:
        line.append("PANIC: destroying everything  ", style="bold red")
    if account["is_frozen"]:
        line.append(
            "FROZEN: nothing is rented, started, stopped or destroyed  ", style="bold yellow"
        )
    caps = account["caps"]
    line.append(
        f"{clean(answer.get('stage', ''))}: "
        f"{usd(sum(group['money']['usd_per_hour'] for group in answer['groups']))}/h, "
        f"{usd(account['spent_today_usd'])} today; cap use (worst case): "
        f"{usd(account['committed_usd_per_hour'])} of {usd(caps['usd_per_hour'])}/h · "
        f"{usd(account['counted_today_usd'])} of {usd(caps['usd_per_day'])} today · "
        f"{usd(account['counted_month_usd'])} of {usd(caps['usd_per_month'])} this month; "
        f"Vast's list {inventory['state']}"
    )
    if inventory.get("at"):
        seen = age(inventory["at"], float(answer["now"]))
        line.append(
            f" {seen} ago" if inventory["state"] == "known" else f", the last whole one {seen} ago"
        )
    if searches := account.get("searches"):
        used = (
            f"; searched {count(searches['today'], 'time')} today, rows: {searches['rows_today']}"
        )
        is_used_up = searches["rows_today"] >= searches["rows_per_day"]
        line.append(f"{used} of {searches['rows_per_day']}", style="red" if is_used_up else "")
    if inventory.get("n_strays"):
        line.append(f", {count(inventory['n_strays'], 'stray')}", style="red")
    return line


def _sentences(group: Json, now: float) -> Sequence[Text]:
    name = clean(group["endpoint_name"])
    lines = [
        Text(f"{name}: {clean(reason)}", style="yellow")
        for reason in group.get("health_reasons", ())
    ]
    late = group["queue"].get("late_share")
    if late and not any("late" in reason for reason in group.get("health_reasons", ())):
        lines.append(Text(f"{name}: {share(late)} of requests started late"))
    lines += [
        Text(
            f"{name}: testing GPUs for autogroup {autogroup['id']}: {exploration['n_loaded']} of "
            f"{count(exploration['n_needed'], 'test worker')} ready"
        )
        for autogroup in group["autogroups"]
        if (exploration := autogroup["exploration"])["phase"] == "exploring"
    ]
    if (cache := group.get("cache") or {}).get("hit_share") is not None:
        spared = cache.get("spared_share")
        work = f", which spares {share(spared)} of the work" if spared else ""
        lines.append(
            Text(f"{name}: {share(cache['hit_share'])} of prompt tokens came from caches{work}")
        )
    if bids := group.get("interruptible"):
        lines.append(Text(f"{name}: {_bids_sentence(bids)}"))
    decision = group.get("last_decision")
    if decision:
        lines.append(Text(f"{name}: {age(decision['at'], now)} ago: {clean(decision['message'])}"))
    return lines


def _bids_sentence(bids: Json) -> str:
    outbid = f", {bids['n_outbid']} outbid now" if bids["n_outbid"] else ""
    price = bids.get("mean_on_demand_usd_per_hour")
    instead = f", {usd(price, 3)} on demand" if price else ""
    return (
        f"{count(bids['n_held'], 'interruptible machine')}{outbid}; mean bid "
        f"{usd(bids['mean_bid_usd_per_hour'], 3)} an hour{instead}"
    )


COMMANDS = (status, watch)
