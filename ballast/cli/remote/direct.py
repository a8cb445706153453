"""Panic without the deployment: the scaler's own service, run here with the owner's credentials."""

from __future__ import annotations

import os
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.by_label import is_chosen
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.display import clean
from chalicelib import wiring
from chalicelib.core.model.market import InstanceRecord
from chalicelib.ports.errors import PortError
from chalicelib.services.market.panic import panic


def panic_directly(stage: str, session: Session, *, is_sure: bool) -> tuple[Json, str]:
    """Destroy everything that is the deployment's, and verify; gives what to print.

    A machine that has a row of ours and another label is asked for by itself.

    Raises:
        CliError: AWS cannot be reached with these credentials, or instances are left.
    """
    os.environ["BALLAST_STAGE"] = stage
    os.environ["BALLAST_ROLE"] = "scaler"
    notes = session.notes

    def choose(records: Sequence[InstanceRecord]) -> Sequence[int]:
        progress.stop()
        notes.print("ballast: in our books, but under a label that is not ours (any more):")
        chosen = [r.instance_id for r in records if is_chosen(r, is_sure=is_sure)]
        progress.start()
        return chosen

    try:
        with notes.status("reading what is ours …") as progress:
            report = panic(
                wiring.scaler_ports(),
                tell=lambda text: progress.update(clean(text)),
                choose=choose,
            )
    except (PortError, ClientError, BotoCoreError) as error:
        raise CliError(
            f"cannot act directly: {error}",
            code=ExitCode.UNREACHABLE,
            fix="set AWS credentials and region of the deployment; without AWS: "
            "ballast panic --vast-key-only",
        ) from error
    for problem in report.problems:
        notes.print(f"ballast: {clean(problem)}")
    if not report.is_verified:
        if report.unjudged:
            names = ", ".join(map(str, report.unjudged))
            raise CliError(
                f"stage {stage}: {len(report.unjudged)} instances run, and nobody can say whether "
                f"they are this deployment's: {names}; {len(report.left)} more of ours are left",
                code=ExitCode.CHECK_FAILED,
                fix="destroy those of yours on Vast's own page, then run it again",
            )
        left = ", ".join(map(str, report.left)) or "nobody knows which"
        raise CliError(
            f"{len(report.left)} instances are left: {left}",
            code=ExitCode.CHECK_FAILED,
            fix="run it again, or destroy these on Vast's own page",
        )
    answer: Json = {"n_instances": report.n_returned, "verified_at": report.verified_at}
    return answer, (
        f"{report.n_returned} instances of stage {stage} destroyed; "
        "none is left, verified with Vast"
    )
