"""The brakes without the deployment: its own services, run here with the owner's credentials.

They need the tables, and panic needs Vast; no door that strangers could keep shut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.aws import aws_trouble
from ballast.cli.remote.by_label import is_chosen
from ballast.cli.remote.server import WHAT_THERE_IS, Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.display import clean
from chalicelib import wiring
from chalicelib.core.model.caller_key import VERBS
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.words import count
from chalicelib.ports.errors import PortError
from chalicelib.services.keys import Caller
from chalicelib.services.market.panic import panic
from chalicelib.services.owner import brakes, groups

OWNER = Caller(key_id="aws-credentials", verbs=VERBS, endpoint_id=None, generation=0)
"""Whoever holds the account's AWS credentials; the audit trail says so."""


@contextmanager
def _deployment(stage: str, instead: str = "") -> Iterator[None]:
    """Act as this stage's functions do. `instead`: what can be done without AWS.

    Raises:
        CliError: AWS cannot be reached with these credentials.
    """
    asked = {"BALLAST_STAGE": stage, "BALLAST_ROLE": "scaler"}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    wiring.reset()
    try:
        yield
    except (PortError, ClientError, BotoCoreError) as error:
        found, fix = aws_trouble(error)
        raise CliError(
            f"cannot act directly on stage {stage}: {found}",
            code=ExitCode.UNREACHABLE,
            fix=f"{fix}{instead}",
        ) from error
    finally:  # who runs the command within a process of theirs finds it as it was
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        wiring.reset()


def freeze_directly(stage: str, name: str | None, *, is_frozen: bool) -> tuple[Json, str]:
    """Freeze or unfreeze the account, or the group of this name; gives what to print.

    Raises:
        CliError: AWS cannot be reached with these credentials, or there is no such group.
    """
    with _deployment(stage):
        ports = wiring.api_ports()
        if name is None:
            brakes.freeze_account(ports, OWNER, frozen=is_frozen)
        else:
            group = groups.group_by_name(ports, OWNER, name)
            if group is None:
                raise CliError(f"stage {stage} has no endpoint group {name!r}", fix=WHAT_THERE_IS)
            groups.freeze_group(ports, OWNER, group.endpoint_id, frozen=is_frozen)
    what = f"{name or 'The account'} of stage {stage}"
    return {"frozen": is_frozen}, f"{what} {'is frozen' if is_frozen else 'may act again'}"


def clear_panic_directly(stage: str) -> tuple[Json, str]:
    """End the panic; gives what to print.

    Raises:
        CliError: AWS cannot be reached with these credentials.
    """
    with _deployment(stage):
        brakes.clear_panic(wiring.api_ports(), OWNER)
    return {"panicking": False}, f"Panic of stage {stage} is over"


def panic_directly(stage: str, session: Session, *, is_sure: bool) -> tuple[Json, str]:
    """Destroy everything that is the deployment's, and verify; gives what to print.

    A machine that has a row of ours and another label is asked for by itself.

    Raises:
        CliError: AWS cannot be reached with these credentials, or instances are left.
    """
    notes = session.notes

    def choose(records: Sequence[InstanceRecord]) -> Sequence[int]:
        notes.print("ballast: in our books, but under a label that is not ours (any more):")
        return [r.instance_id for r in records if is_chosen(r, is_sure=is_sure)]

    with _deployment(stage, "; without AWS: ballast panic --vast-key-only"):
        report = panic(wiring.scaler_ports(), tell=session.teller(), choose=choose)
    for problem in report.problems:
        notes.print(f"ballast: {clean(problem)}")
    if report.others:
        what = count(len(report.others), "instance")
        notes.print(
            f"ballast: {what} under labels that another deployment made, not touched: "
            f"{', '.join(map(str, report.others))}"
        )
    if not report.is_verified:
        if report.unjudged:
            names = ", ".join(map(str, report.unjudged))
            run = count(len(report.unjudged), "instance runs", "instances run")
            raise CliError(
                f"stage {stage}: {run}, and nobody can say whether for this deployment: {names}; "
                f"of ours are left: {len(report.left)}",
                code=ExitCode.CHECK_FAILED,
                fix="`ballast panic --vast-key-only` shows each that has a label of Ballast's form "
                "and asks; or destroy those of yours on Vast's own page",
            )
        left = ", ".join(map(str, report.left)) or "nobody knows which"
        raise CliError(
            f"{count(len(report.left), 'instance')} of stage {stage} left: {left}",
            code=ExitCode.CHECK_FAILED,
            fix="run it again, or destroy these on Vast's own page",
        )
    answer: Json = {
        "n_instances": report.n_returned,
        "verified_at": report.verified_at,
        "others": list(report.others),
    }
    return answer, (
        f"{count(report.n_returned, 'instance')} of stage {stage} destroyed; "
        "none of it is left, verified with Vast"
    )
