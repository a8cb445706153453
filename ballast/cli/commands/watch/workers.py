"""`workers`: the workers of a group."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from ballast.cli.lookup import find_autogroup, find_endpoint, list_autogroups
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import age, cell, number, state_cell, table, usd
from chalicelib.core.words import count

_COLUMNS = (
    ">id", "state", "GPU", "version", ">measured", "?>observed", ">load", "?>requests", ">$/h",
    ">age", "?>report", "?>host", "error",
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
    chosen = None if autogroup is None else find_autogroup(session.server, autogroup, row)["id"]
    found = session.server.workers(endpoint_id=row["id"], autogroup_id=chosen)
    autogroups = {one["id"]: one for one in list_autogroups(session.server, int(row["id"]))}
    now = time.time()
    session.show(
        found,
        table(
            f"{count(len(found), 'worker')} of {row['endpoint_name']}",
            _COLUMNS,
            [_line(worker, autogroups, now) for worker in found],
        ),
    )


def version(worker: Json, autogroups: Mapping[int, Json]) -> str:
    """Which template a worker runs: its autogroup's hash, or that it is an older one."""
    autogroup = autogroups.get(int(worker.get("autogroup_id") or 0), {})
    name = str(autogroup.get("template_hash") or autogroup.get("template_id") or "image")[:8]
    newest, own = autogroup.get("template_revision"), worker.get("template_revision")
    if not newest or not own:
        return name
    return f"{name} r{own}" if own >= newest else f"r{own} (old; {name} is r{newest})"


def _line(worker: Json, autogroups: Mapping[int, Json], now: float) -> tuple[object, ...]:
    is_stopped = (worker.get("state") or worker.get("status")) in ("stopped", "paused", "unavail")
    price = usd(worker.get("usd_per_hour"), 3)
    if is_stopped:  # only its disk costs now
        price = f"{usd(worker.get('storage_usd_per_hour'), 3)} ({price} running)"
    if worker.get("is_interruptible"):
        on_demand = worker.get("on_demand_usd_per_hour")
        instead = f" of {usd(on_demand, 3)}" if on_demand else ""
        price = f"{price}, bid {usd(worker.get('bid_usd_per_hour'), 3)}{instead}"
    error = str(worker.get("error") or "")[:60]
    return (
        worker["id"],
        cell("outbid", "yellow")
        if worker.get("is_outbid")
        else state_cell(worker.get("state") or worker.get("status")),
        f"{worker.get('num_gpus', 1)}x {worker.get('gpu_name', '')}",
        version(worker, autogroups),
        number(worker.get("measured_perf")),
        number(worker.get("observed_perf")),
        number(0 if is_stopped else worker.get("cur_load")),
        number(worker.get("reqs_working")),
        price,
        age(worker.get("created_at"), now),
        age(worker.get("reported_at"), now),
        worker.get("host_id"),
        cell(error, "red") if error else cell("", "dim"),
    )


COMMANDS = (workers,)
