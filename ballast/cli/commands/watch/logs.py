"""`logs` and `stats`: what happened, and how much of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from ballast.cli.errors import CliError
from ballast.cli.lookup import find_autogroup, find_endpoint
from ballast.cli.parameters import DURATION, WHOLE, Whole
from ballast.cli.remote.model_log import chosen, model_log
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import (
    NOTHING,
    clean,
    clean_text,
    moment,
    number,
    table,
)
from chalicelib.core.words import count

LEVELS = ("info0", "info1", "trace", "debug")
FOLLOW_EVERY_S = 2.0
MAX_LINES = 30
FOLLOWED_LINES = 40  # of the end are asked for each time, to find what is new
MOST_MODEL_LINES = 100_000
MOST_EVENTS = 1000  # that the server gives at once


@click.command("logs")
@click.argument("name", required=False)
@click.option("--autogroup", help="Logs of an autogroup instead: offer search and rentals.")
@click.option("--account", is_flag=True, help="Who changed what, and what concerns all groups.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="info1",
    show_default=True,
    help="info0 is the tersest.",
)
@click.option(
    "--tail",
    type=Whole(-1),
    default=100,
    show_default=True,
    help="Lines from the end; -1: all.",
)
@click.option(
    "--follow/--no-follow",
    "-f",
    default=None,
    help="Stay, and print what comes; a model's log is live unless --no-follow.",
)
@click.option("--model", is_flag=True, help="The model server's own log, of a worker.")
@click.option(
    "--worker", type=WHOLE, help="With --model: of this one, not the one in most trouble."
)
@connection_options
@pass_session
def logs(
    session: Session,
    name: str | None,
    autogroup: str | None,
    account: bool,
    level: str,
    tail: int,
    follow: bool | None,
    model: bool,
    worker: int | None,
) -> None:
    """Print the log of an endpoint group, an autogroup, the account, or a worker's model server.

    \b
    ballast logs TGI-Llama3 --level info0
    ballast logs --autogroup 12 --follow
    ballast logs --model TGI-Llama3
    """
    if model or worker is not None:
        if not name or not model or autogroup is not None or account:
            raise click.UsageError("a model server's log: ballast logs --model NAME [--worker ID]")
        _print_model_log(session, name, worker, tail, follows=follow is not False)
        return
    if (name is not None) + (autogroup is not None) + account != 1:
        raise click.UsageError("give one of NAME, --autogroup or --account")
    if follow and (account or session.wants_json):
        raise click.UsageError("--follow prints text of a group's or autogroup's log, as it comes")
    if account:
        _print_events(session, tail)
        return
    path, identity = _log_of(session, name, autogroup)
    # Who follows compares tails of one length: it may be longer than what is printed first.
    n_asked = max(tail, FOLLOWED_LINES) if follow and tail >= 0 else max(tail, -1)
    body = {"id": identity, "tail": n_asked}
    answer = session.server.post(path, body)
    if session.wants_json:
        session.show({one: str(answer[one]) for one in LEVELS})
        return
    shown = str(answer[level])
    lines = shown.splitlines(keepends=True)
    _print_text("".join(lines if tail < 0 else lines[len(lines) - min(tail, len(lines)) :]))
    while follow:
        time.sleep(FOLLOW_EVERY_S)
        answer = session.server.post(path, body)
        _print_text(news(shown, str(answer[level])))
        shown = str(answer[level])


def _print_model_log(
    session: Session, name: str, worker: int | None, tail: int, *, follows: bool
) -> None:
    row = find_endpoint(session.server, name)
    group = str(row["endpoint_name"])
    found = chosen(session.server.workers(endpoint_id=row["id"]), worker, group)
    lines = model_log(
        session.server,
        row,
        int(found["id"]),
        n_lines=MOST_MODEL_LINES if tail < 0 else min(tail, MOST_MODEL_LINES),
        follows=follows and not session.wants_json,
    )
    if session.wants_json:
        session.show({"worker": found["id"], "lines": list(lines)})
        return
    session.notes.print(f"worker {found['id']} of {group}, {clean(found.get('gpu_name'))}:")
    for line in lines:
        click.echo(clean_text(line))


@click.command("stats")
@click.argument("name")
@click.option("--autogroup", help="Of this autogroup (id or template hash).")
@click.option(
    "--metric", "metrics", multiple=True, help="Over time; repeat for more, e.g. queue_time_s."
)
@click.option("--since", type=DURATION, default="1h", show_default=True, help="How far back.")
@connection_options
@pass_session
def stats(
    session: Session, name: str, autogroup: str | None, metrics: tuple[str, ...], since: float
) -> None:
    """Current figures of a group, or metrics over time.

    \b
    ballast stats TGI-Llama3
    ballast stats TGI-Llama3 --metric curload --metric queue_time_s --since 6h
    """
    row = find_endpoint(session.server, name)
    if not metrics:
        body: Json = {"id": row["id"]}
        path = "/get_endpoint_stats/"
        if autogroup is not None:
            body, path = (
                {"id": find_autogroup(session.server, autogroup, row)["id"]},
                "/get_autogroup_stats/",
            )
        answer = session.server.post(path, body)
        rows = [
            (key, NOTHING if value is None else number(value))
            for key, value in answer.items()
            if value is None or type(value) in (int, float)
        ]
        session.show(answer, table(f"Stats of {row['endpoint_name']}", ("figure", ">now"), rows))
        return
    now = time.time()
    answer = session.server.get(
        "/api/v0/series", endpoint_id=row["id"], t1=now - since, t2=now, max_points=MAX_LINES
    )
    unknown = sorted(set(metrics) - set(answer["values"]))
    if unknown and answer["t"]:
        known = ", ".join(sorted(answer["values"]))
        raise click.UsageError(f"no metric {', '.join(unknown)}; there are {known}")
    lines = [
        (moment(at), *(number(answer["values"][metric][index]) for metric in metrics))
        for index, at in enumerate(answer["t"])
    ]
    columns = ("time (UTC)", *(f">{metric}" for metric in metrics))
    session.show(
        answer, table(f"{row['endpoint_name']}, {count(len(lines), 'point')}", columns, lines)
    )


def news(before: str, after: str) -> str:
    """What `after` has beyond `before`, when both are the tails of one growing log."""
    for start in range(len(before)):
        if after.startswith(before[start:]):
            return after[len(before) - start :]
    return after


def event_lines(events: Sequence[Json]) -> list[tuple[str, ...]]:
    """Events as rows: when, who, what."""
    return [
        (moment(event["at"]), str(event.get("actor") or NOTHING), event["message"] + changed(event))
        for event in events
    ]


def changed(event: Json) -> str:
    """What an owner changed: ' (min_load 100 → 200)'."""
    facts = event.get("facts") or {}
    before, after = facts.get("before") or {}, facts.get("after") or {}
    parts = [
        f"{name} {_value(before.get(name))} → {_value(after.get(name))}"
        for name in sorted({*before, *after})
        if before  # a creation's values are its own
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _value(value: object) -> str:
    """As an owner writes it: a number without needless zeros, nothing as a dash."""
    if value is None or value == "":
        return NOTHING
    return number(value) if isinstance(value, float) else str(value)


def _log_of(session: Session, name: str | None, autogroup: str | None) -> tuple[str, int]:
    if autogroup is not None:
        return "/get_autogroup_logs/", int(find_autogroup(session.server, autogroup)["id"])
    return "/get_endpoint_logs/", int(find_endpoint(session.server, str(name))["id"])


def _with_names(session: Session, events: Sequence[Json]) -> list[Json]:
    """Each actor that is a key with that key's name, where this key may see the keys."""
    try:
        keys = session.server.get("/api/v0/keys/")["results"]
    except CliError:
        return list(events)
    names = {str(one["key_id"]): str(one["name"]) for one in keys}
    return [
        {**event, "actor": f"{names[actor]} ({actor})"} if actor in names else dict(event)
        for event in events
        for actor in (str(event.get("actor")),)
    ]


def _print_events(session: Session, tail: int) -> None:
    limit = min(tail, MOST_EVENTS) if tail >= 0 else MOST_EVENTS
    found = session.server.get("/api/v0/events", account=1, limit=max(limit, 1))["events"]
    events = found[:limit]
    rows = event_lines(_with_names(session, list(reversed(events))))
    session.show(
        events,
        table(f"{count(len(events), 'event')} of the account", ("time (UTC)", "who", "what"), rows),
    )


def _print_text(text: str) -> None:
    for line in text.splitlines():
        click.echo(clean(line))


COMMANDS = (logs, stats)
