"""`spend` and `compare`: what it cost, and which hardware serves best for the money."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import RenderableType
from rich.text import Text

from ballast.cli.errors import CliError
from ballast.cli.lookup import find_endpoint
from ballast.cli.parameters import Whole
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import (
    NOTHING,
    cell,
    clean,
    duration,
    number,
    share,
    table,
    usd,
)
from chalicelib.core.words import count

MONEY = ("gpu_usd", "disk_usd", "bandwidth_usd", "download_usd", "total_usd")
WHAT: Mapping[str, Sequence[tuple[str, str]]] = {
    "day": (),
    "autogroup": (("autogroup_id", ">autogroup"),),
    "worker": (
        ("autogroup_id", ">autogroup"),
        ("instance_id", ">instance"),
        ("gpu_type", "GPU"),
    ),
}
"""Fields of a row and their headings, besides day, endpoint and money."""


@click.command("spend")
@click.argument("name", required=False)
@click.option("--days", type=Whole(1, 31), default=30, show_default=True, help="How far back.")
@click.option(
    "--by",
    type=click.Choice(tuple(WHAT)),
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

    Deleted groups are in it. Traffic and downloads are estimates.

    \b
    ballast spend --days 7
    ballast spend TGI-Llama3 --by worker --days 1
    ballast spend TGI-Llama3 --by autogroup --csv spend.csv
    """
    query: Json = {"days": days, "by": by}
    if name is not None:
        query["endpoint_id"] = find_endpoint(session.server, name)["id"]
    answer = session.server.get("/api/v0/spend", **query)
    if csv_path is not None:
        _write_csv(csv_path, answer["rows"], by)
        return
    what = [heading for _, heading in WHAT[by]]
    estimates = (">traffic (est.)", ">downloads (est.)")
    columns = ("day", "endpoint", *what, ">GPU", ">disk", *estimates, ">total")
    rows = [_line(row, by) for row in answer["rows"]]
    session.show(answer, table(f"Spend, {count(days, 'day')}", columns, rows), *_summary(answer))


@click.command("compare")
@click.argument("name")
@click.option(
    "--hours", type=Whole(1, 24 * 30), default=24, show_default=True, help="How far back."
)
@connection_options
@pass_session
def compare(session: Session, name: str, hours: int) -> None:
    """The autogroups of a group side by side: performance, price, waits, errors.

    \b
    ballast compare TGI-Llama3 --hours 2
    """
    row = find_endpoint(session.server, name)
    answer = session.server.get("/api/v0/compare", endpoint_id=row["id"], hours=hours)
    columns = (
        ">autogroup", "GPU", "?>workers", "?>requests", ">perf", ">$ per 1M load",
        ">wait p50", ">wait p95", ">errors", "?>cache hits", "?>load time",
        "?slowest part: load, start", "verdict",
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
            share(one.get("cache_hit_share")),
            duration(one.get("load_time_s")),
            ", ".join(_slowest(one.get(name)) for name in ("load_parts_s", "start_parts_s")),
            cell(one.get("verdict")),
        )
        for one in answer["rows"]
    ]
    session.show(answer, table(f"{row['endpoint_name']}, last {hours} h", columns, rows))


def _line(row: Json, by: str) -> tuple[object, ...]:
    what = (row.get(name) for name, _ in WHAT[by])
    money = (usd(row.get(name), 3) for name in MONEY)
    name = row.get("endpoint_name")
    return (row.get("day"), f"{name} (deleted)" if row.get("is_deleted") else name, *what, *money)


def _per_million(per_thousand: object) -> float | None:
    return 1_000 * per_thousand if isinstance(per_thousand, int | float) else None


def _forecast(month: Json) -> str:
    """What the month will cost; none is known in a deployment's first hour."""
    known = month["forecast_usd"]
    return "not known before an hour has passed" if known is None else usd(known)


def _summary(answer: Json) -> list[RenderableType]:
    month = answer["month"]
    lines: list[RenderableType] = [
        Text(
            f"This month: {usd(month['so_far_usd'])}, forecast {_forecast(month)}; "
            f"AWS itself: about {usd(answer['aws_estimate_usd'])} in these days (estimate)"
        ),
        Text(
            f"Counted against the cap of {usd(month['cap_usd'])}: {usd(month['counted_usd'])} "
            "(image downloads and doubt at their worst)"
        ),
    ]
    n_unknown = sum(int(row.get("n_unknown_downloads", 0)) for row in answer["rows"])
    if n_unknown:
        lines.append(
            Text(f"Not in it: what {count(n_unknown, 'worker')} downloaded that told no disk")
        )
    bids = answer.get("interruptible")
    if bids:
        lines.append(
            Text(
                f"Interruptible machines: {usd(bids['gpu_usd'])} for their GPUs, "
                f"{usd(bids['saved_usd'])} less than on demand; taken away "
                f"{count(bids['n_taken'], 'time')}, which cut {count(bids['n_cut'], 'request')}"
            )
        )
    fixed = answer.get("fixed_fleet")
    if fixed:
        lines.append(
            Text(
                f"A fixed fleet of {count(fixed['n_workers'], 'worker')} would have cost "
                f"{usd(fixed['usd'])}: {_compared(fixed['usd'], fixed['saved_share'])}"
            )
        )
    return lines


def _compared(fixed_usd: float, saved_share: float) -> str:
    """What was saved, of the fixed fleet's price; or how much less that fleet costs, of ours."""
    if saved_share >= 0:
        return f"{share(round(saved_share, 3))} saved"
    spent_usd = fixed_usd * (1 - saved_share)
    return f"{share(round(1 - fixed_usd / spent_usd, 3))} less than was spent"


def _write_csv(path: str, rows: list[Json], by: str) -> None:
    text = io.StringIO()
    about = ("day", "endpoint_id", "endpoint_name", "is_deleted")
    columns = (*about, *(name for name, _ in WHAT[by]), *MONEY)
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)
    if path == "-":
        click.echo(text.getvalue(), nl=False)
    else:
        try:
            Path(path).write_text(text.getvalue(), encoding="utf-8")
        except OSError as error:
            fix = "give a file in a directory that exists, or - for the screen"
            raise CliError(
                f"--csv: {path!r} cannot be written: {error.strerror}", fix=fix
            ) from error
        click.echo(f"wrote {count(len(rows), 'row')} to {path}", err=True)


def _safe(value: object) -> object:
    """A spreadsheet must not take a name for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _slowest(parts: Json | None) -> str:
    """Of the parts of a load, that which takes longest: `weights 40s`."""
    if not parts:
        return NOTHING
    name = max(parts, key=lambda part: float(parts[part]))
    return f"{clean(name)} {duration(parts[name])}"


COMMANDS = (spend, compare)
