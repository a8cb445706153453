"""`simulate`: what other parameters would have cost on the group's own traffic."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.text import Text

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import find_endpoint
from ballast.cli.parameters import ENDPOINT_FIELDS, Finite, Whole
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.replay import params_of, trace_of
from ballast.cli.terminal.display import duration, number, share, table, usd
from ballast.simulator.ours import BallastPolicy
from ballast.simulator.run import Score, Setting, run_policy
from ballast.simulator.world.market import read_market
from ballast.simulator.world.traces import Trace
from chalicelib.core.model.endpoint_group import ParameterError, ScalingParams
from chalicelib.core.words import count

_TYPES = {one.name: one.type for one in ENDPOINT_FIELDS if isinstance(one.type, Finite | Whole)}


@click.command("simulate")
@click.argument("name")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="A parameter to try.")
@click.option("--hours", type=Whole(1, 24 * 7), default=24, show_default=True, help="How far back.")
@click.option("--targets", metavar="SHARE,…", help="What each slo_target would have cost.")
@connection_options
@pass_session
def simulate(
    session: Session, name: str, changes: tuple[str, ...], hours: int, targets: str | None
) -> None:
    """Replay a group's own last day in the simulator, as it is and under other parameters.

    The market is a model of Vast's: compare the columns with each other, not with your bill.

    \b
    ballast simulate TGI-Llama3 --set target_util=0.8 --set max_workers=10
    ballast simulate TGI-Llama3 --targets 0.95,0.99,0.999
    """
    wanted = dict(_parse(change) for change in changes)
    asked = [_parse(f"slo_target={text}")[1] for text in targets.split(",")] if targets else []
    if not wanted and not asked:
        raise click.UsageError("say what to try: --set target_util=0.8, or --targets 0.95,0.99")
    row = find_endpoint(session.server, name)
    worker_perf = _mean_perf(session.server.workers(endpoint_id=row["id"]))
    now = time.time()
    series = session.server.get(
        "/api/v0/series", endpoint_id=row["id"], t1=now - 3_600 * hours, t2=now, max_points=1_500
    )
    trace = trace_of(series, worker_perf)
    tried = [wanted | {"slo_target": one} for one in asked] if asked else [{}, wanted]
    try:
        sides = [params_of(row, change, worker_perf) for change in tried]
    except ParameterError as error:
        raise CliError(str(error), code=ExitCode.USAGE) from error
    if asked:
        _show_targets(session, row["endpoint_name"], trace, sides)
        return
    with session.notes.status("replaying, first as it is …") as progress:
        before = _play(trace, sides[0])
        progress.update("replaying with the changes …")
        after = _play(trace, sides[1])
    n_requests = count(len(trace.times), "request")
    title = f"{row['endpoint_name']}, {n_requests} in {duration(trace.duration_s)}"
    session.show(
        {"as_it_is": _as_json(before), "changed": _as_json(after), "changes": wanted},
        table(title, ("", ">as it is", ">changed"), _lines(before, after)),
        Text(f"Changed: {', '.join(changes)}. Nothing was done."),
    )


def _show_targets(
    session: Session, name: str, trace: Trace, sides: Sequence[ScalingParams]
) -> None:
    """Each target's cost on the group's own traffic."""
    scores = []
    with session.notes.status("replaying …") as progress:
        for params in sides:
            progress.update(f"replaying with slo_target {params.slo_target:g} …")
            scores.append(_play(trace, params))
    lines = [
        (
            f"{params.slo_target:g}",
            share(score.within_slo),
            usd(score.usd),
            duration(score.p95_wait_s),
            number(score.gpu_hours),
        )
        for params, score in zip(sides, scores, strict=True)
    ]
    session.show(
        {
            "targets": [
                {"slo_target": params.slo_target, **_as_json(score)}
                for params, score in zip(sides, scores, strict=True)
            ],
            "is_estimate": True,
        },
        table(
            f"{name}, {count(len(trace.times), 'request')} in {duration(trace.duration_s)}",
            ("target", ">on time", ">dollars", ">wait p95", ">GPU hours"),
            lines,
        ),
        Text("An estimate: a model of the market, and bursts within a minute smoothed."),
    )


def _parse(change: str) -> tuple[str, float | int]:
    name, _, text = change.partition("=")
    name = name.replace("-", "_")
    if name not in _TYPES:
        raise click.UsageError(f"{name!r} cannot be tried; one of: {', '.join(_TYPES)}")
    try:
        return name, _TYPES[name].convert(text, None, None)
    except click.BadParameter as error:
        raise click.UsageError(f"{name}: {error.message}") from error


def _mean_perf(workers: list[Json]) -> float:
    perfs = [float(worker["measured_perf"]) for worker in workers if worker.get("measured_perf")]
    if not perfs:
        raise CliError("no worker was measured yet", fix="wait until one is ready: `ballast watch`")
    return sum(perfs) / len(perfs)


def _play(trace: Trace, params: ScalingParams) -> Score:
    setting = Setting(market=read_market(), queue="paced", slo_wait_s=params.target_queue_time)
    return run_policy(trace, BallastPolicy(params=params), setting)


def _as_json(score: Score) -> Json:
    """A score's figures; a wait that never ended is null."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(score).items()}


def _lines(before: Score, after: Score) -> list[tuple[str, str, str]]:
    return [
        ("dollars", usd(before.usd), usd(after.usd)),
        ("started within target", share(before.within_slo), share(after.within_slo)),
        ("wait, median", duration(before.p50_wait_s), duration(after.p50_wait_s)),
        ("wait, 95th percentile", duration(before.p95_wait_s), duration(after.p95_wait_s)),
        ("GPU hours", number(before.gpu_hours), number(after.gpu_hours)),
        ("starts of stopped workers", number(before.starts), number(after.starts)),
    ]


COMMANDS = (simulate,)
