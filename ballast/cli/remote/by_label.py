"""Panic with the Vast key alone, when neither the deployment nor AWS can be reached."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.asking import secret_of
from ballast.cli.terminal.display import clean
from chalicelib.adapters.system import SystemClock
from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.words import count
from chalicelib.services.market.panic import PanicReport
from chalicelib.services.market.panic_by_label import panic_by_label

CONSOLE = "https://cloud.vast.ai/instances/"


def panic_with_vast_key(session: Session, *, is_sure: bool) -> tuple[Json, str]:
    """Destroy what the owner names among the machines with labels of our form; what to print.

    Raises:
        CliError: something is left, or Vast does not answer.
    """
    url = os.environ.get("BALLAST_VAST_URL", "https://console.vast.ai").rstrip("/")
    key = secret_of("VAST_API_KEY", "Vast API key")
    clock = SystemClock()
    vast = VastMarketplace(url=url, api_key=lambda: key, clock=clock)

    def choose(labelled: Sequence[InstanceRecord]) -> Sequence[int]:
        session.notes.print(
            "ballast: with the Vast key alone nobody can check that a label was made by your "
            "deployment; a copied label looks the same"
        )
        return [r.instance_id for r in labelled if is_chosen(r, is_sure=is_sure)]

    report = panic_by_label(vast, clock, choose, tell=session.teller())
    for problem in report.problems:
        session.notes.print(f"ballast: {clean(problem)}")
    kept = ", ".join(map(str, report.unjudged))
    if not report.is_verified:
        raise CliError(
            _not_done(report),
            code=ExitCode.CHECK_FAILED,
            fix=f"run it again, or destroy them at {CONSOLE}",
        )
    answer: Json = {
        "n_instances": report.n_returned,
        "kept": list(report.unjudged),
        "verified_at": report.verified_at,
    }
    said = f"{count(report.n_returned, 'instance')} destroyed, and seen gone"
    if not report.n_returned:
        said = "no instance was destroyed: two lists, a minute apart, show none with such a label"
    if not report.n_returned and kept:
        said = "no instance was destroyed"
    warning = "; a deployment that still lives may rent again: stop it as soon as you can"
    return answer, f"{said}{f'; others with such labels: {kept}' if kept else ''}{warning}"


def _not_done(report: PanicReport) -> str:
    """What is left: of what was chosen, and of what nobody was asked for."""
    new = sorted(set(report.left) & set(report.unjudged))
    left = sorted(set(report.left) - set(new))
    parts = [f"not seen gone: {', '.join(map(str, left))}"] if left else []
    if new:
        it = "appeared meanwhile under such a label, rented by a deployment that lives"
        parts.append(f"{', '.join(map(str, new))} {it}")
    return "; ".join(parts) or "not seen gone: nobody knows which"


def is_chosen(record: InstanceRecord, *, is_sure: bool) -> bool:
    """Ask the owner whether a machine is to go."""
    if is_sure:
        return True
    if not sys.stdin.isatty():
        raise CliError(
            f"instance {record.instance_id} is labelled {clean(record.label)!r}, and nobody is "
            "there to say whether it is to go; nothing was destroyed",
            code=ExitCode.NOT_CONFIRMED,
            fix="run it in a terminal; --yes destroys every machine with such a label",
        )
    what = f"{record.num_gpus}x {clean(record.gpu_name)}, ${record.usd_per_hour:.2f}/h"
    return click.confirm(
        f"Destroy {record.instance_id} ({clean(record.label)}, {what})?", default=False, err=True
    )
