"""`workers`: the workers of a group."""

from __future__ import annotations

import time

import click

from ballast.cli.lookup import find_autogroup, find_endpoint
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import age, cell, number, state_cell, table, usd

_COLUMNS = (
    ">id", "state", "GPU", ">measured", "?>observed", ">load", "?>requests", ">$/h", ">age",
    "?>report", "?>host", "error",
)  # fmt: skip


@click.command("workers")
@click.argument("name")
@click.option("--autogroup", help="Only those of this autogroup (id or template hash).")
@connection_options
@pass_session
def workers(session: Session, name: str, autogroup: str | None) -> None:
    """List the workers of an endpoint group: state, performance, load, price, age.

    \b
    ballast workers TGI-Llama3
    """
    row = find_endpoint(session.server, name)
    chosen = None if autogroup is None else find_autogroup(session.server, autogroup)["id"]
    found = session.server.workers(endpoint_id=row["id"], autogroup_id=chosen)
    now = time.time()
    session.show(
        found,
        table(
            f"{len(found)} workers of {row['endpoint_name']}",
            _COLUMNS,
            [_line(worker, now) for worker in found],
        ),
    )


def _line(worker: Json, now: float) -> tuple[object, ...]:
    return (
        worker["id"],
        state_cell(worker.get("state") or worker.get("status")),
        f"{worker.get('num_gpus', 1)}x {worker.get('gpu_name', '')}",
        number(worker.get("measured_perf")),
        number(worker.get("observed_perf")),
        number(worker.get("cur_load")),
        number(worker.get("reqs_working")),
        usd(worker.get("usd_per_hour"), 3),
        age(worker.get("created_at"), now),
        age(worker.get("reported_at"), now),
        worker.get("host_id"),
        cell(str(worker.get("error") or "")[:60], "red"),
    )


COMMANDS = (workers,)
