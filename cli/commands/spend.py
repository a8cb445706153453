"""`spend` and `compare`: what it cost, and which hardware serves best for the money."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click
from rich.console import RenderableType
from rich.text import Text

from cli.display import cell, duration, number, share, table, usd
from cli.lookup import find_endpoint
from cli.server import Json
from cli.session import Session, connection_options, pass_session

COLUMNS = (
    "day", "endpoint_id", "endpoint_name", "autogroup_id",
    "gpu_usd", "disk_usd", "bandwidth_usd", "total_usd",
)  # fmt: skip


@click.command("spend")
@click.argument("name", required=False)
@click.option(
    "--days", type=click.IntRange(1, 31), default=30, show_default=True, help="How far back."
)
@click.option(
    "--by",
    type=click.Choice(("day", "autogroup")),
    default="day",
    show_default=True,
    help="One line for each.",
)
@click.option(
    "--csv", "csv_path", type=click.Path(dir_okay=False), help="Write CSV here; - for the screen."
)
@connection_options
@pass_session
def spend(session: Session, name: str | None, days: int, by: str, csv_path: str | None) -> None:
    """What was spent: GPU, disk and bandwidth apart, with a forecast of the month.

    \b
    ballast spend --days 7
    ballast spend TGI-Llama3 --by autogroup --csv spend.csv
    """
    query: Json = {"days": days, "by": by}
    if name is not None:
        query["endpoint_id"] = find_endpoint(session.server, name)["id"]
    answer = session.server.get("/api/v0/spend", **query)
    if csv_path is not None:
        _write_csv(csv_path, answer["rows"])
        return
    columns = ("day", "endpoint", ">autogroup", ">GPU", ">disk", ">traffic, estimated", ">total")
    rows = [_line(row) for row in answer["rows"]]
    session.show(answer, table(f"Spend, {days} days", columns, rows), *_summary(answer))


@click.command("compare")
@click.argument("name")
@click.option(
    "--hours", type=click.IntRange(1, 24 * 30), default=24, show_default=True, help="How far back."
)
@connection_options
@pass_session
def compare(session: Session, name: str, hours: int) -> None:
    """The autogroups of a group side by side: performance, price, waits, errors."""
    row = find_endpoint(session.server, name)
    answer = session.server.get("/api/v0/compare", endpoint_id=row["id"], hours=hours)
    columns = (
        ">autogroup", "GPU", "?>workers", "?>requests", ">perf", ">$ per 1M load",
        ">wait p50", ">wait p95", ">errors", "?>load time", "verdict",
    )  # fmt: skip
    rows = [
        (
            one["autogroup_id"],
            ", ".join(one.get("gpu_types", ())),
            number(one.get("n_workers")),
            number(one.get("n_requests")),
            number(one.get("perf_mean")),
            usd(_per_million(one.get("usd_per_1k_load")), 3),
            duration(one.get("queue_p50_s")),
            duration(one.get("queue_p95_s")),
            share(one.get("error_share")),
            duration(one.get("load_time_s")),
            cell(one.get("verdict")),
        )
        for one in answer["rows"]
    ]
    session.show(answer, table(f"{row['endpoint_name']}, last {hours} h", columns, rows))


def _line(row: Json) -> tuple[object, ...]:
    money = (
        usd(row.get(name), 3) for name in ("gpu_usd", "disk_usd", "bandwidth_usd", "total_usd")
    )
    return (
        row.get("day"),
        row.get("endpoint_name"),
        row.get("autogroup_id"),
        *money,
    )


def _per_million(per_thousand: object) -> float | None:
    return 1_000 * per_thousand if isinstance(per_thousand, int | float) else None


def _summary(answer: Json) -> list[RenderableType]:
    month = answer["month"]
    lines: list[RenderableType] = [
        Text(
            f"Counted against the caps this month: {usd(month['so_far_usd'])} (image downloads "
            f"and traffic at their worst), forecast {usd(month['forecast_usd'])} of "
            f"{usd(month['cap_usd'])}; AWS about {usd(answer.get('aws_estimate_usd'))}"
        )
    ]
    fixed = answer.get("fixed_fleet")
    if fixed:
        lines.append(
            Text(
                f"A fixed fleet of {fixed['n_workers']} workers would have cost "
                f"{usd(fixed['usd'])}: {share(fixed['saved_share'])} saved"
            )
        )
    return lines


def _write_csv(path: str, rows: list[Json]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)
    if path == "-":
        click.echo(text.getvalue(), nl=False)
    else:
        Path(path).write_text(text.getvalue(), encoding="utf-8")
        click.echo(f"wrote {len(rows)} rows to {path}", err=True)


def _safe(value: object) -> object:
    """A spreadsheet must not take a name for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


COMMANDS = (spend, compare)
