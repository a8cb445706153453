"""`probe`: the first contact with the real marketplace; it needs Vast's key and nothing else."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.parameters import Finite
from ballast.cli.probe.prober import Prober, ProbeStoppedError
from ballast.cli.probe.records import Recorder
from ballast.cli.remote.session import Session, pass_session
from ballast.cli.terminal.asking import secret_of
from ballast.cli.terminal.display import cell, table
from chalicelib.adapters.system import SystemClock
from chalicelib.adapters.vast.http import send_over_http

MAX_USD = 1.0


@click.command("probe")
@click.option("--rent", is_flag=True, help="Rent one machine for minutes, and destroy it.")
@click.option("--max-usd", type=Finite(0.001, MAX_USD), default=0.10, show_default=True,
              help="Most that 30 minutes of it may cost.")  # fmt: skip
@click.option("--interruptible", is_flag=True, help="Bid the minimum for it instead.")
@click.option("--record", type=click.Path(path_type=Path), default=Path("vast-probe.json"),
              show_default=True, help="Where the anonymous record goes.")  # fmt: skip
@pass_session
def probe(session: Session, rent: bool, max_usd: float, interruptible: bool, record: Path) -> None:
    """Hold the real marketplace against what Ballast takes for granted.

    Free and read-only without --rent. Ends with 5 if anything is otherwise, or left behind.

    \b
    ballast probe
    ballast probe --rent --max-usd 0.10
    """
    if record.is_dir() or not record.absolute().parent.is_dir():  # before anything is rented
        raise click.UsageError(f"--record {record}: no file can be written there")
    url = os.environ.get("BALLAST_VAST_URL", "https://console.vast.ai").rstrip("/")
    key = secret_of("VAST_API_KEY", "Vast API key")
    recorder = Recorder(time.strftime("%Y-%m-%d", time.gmtime()))
    prober = Prober(
        url=url, api_key=key, send=send_over_http, clock=SystemClock(), recorder=recorder
    )
    stopped, is_interrupted = "", False
    try:
        prober.look()
        if rent or interruptible:
            prober.rent_one(max_usd, interruptible=interruptible)
    except ProbeStoppedError as error:
        stopped = str(error)
    except KeyboardInterrupt:
        is_interrupted = True
    finally:
        for machine in prober.left:
            click.echo(f"ballast: not seen gone: {machine}", err=True)
        _show(session, prober)
        try:
            record.write_text(recorder.to_json())
        except OSError as error:
            click.echo(f"ballast: {record} cannot be written: {error.strerror}", err=True)
    if is_interrupted and not prober.left:
        raise CliError("interrupted; nothing is left rented", code=ExitCode.INTERRUPTED)
    if stopped or prober.left or prober.findings.wrong():
        names = ", ".join(line.name for line in prober.findings.wrong())
        raise CliError(
            stopped or f"otherwise than expected: {names or 'a machine is left'}",
            code=ExitCode.CHECK_FAILED,
            fix=f"send us {record}; it is anonymous",
        )


def _show(session: Session, prober: Prober) -> None:
    marks = {True: cell("✔", "green"), False: cell("✘", "bold red"), None: cell("-", "dim")}
    lines = list(prober.findings.lines.values())
    rows = [
        (marks[line.ok], line.name, line.seen, line.expected, "" if line.ok else line.otherwise)
        for line in lines
    ]
    columns = ("", "taken for granted", "seen", "expected", "what Ballast does otherwise")
    session.show([asdict(line) for line in lines], table("Vast", columns, rows))


COMMANDS = (probe,)
