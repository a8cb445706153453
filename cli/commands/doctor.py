"""`doctor`: everything that must be right before money is spent, each line with its fix."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
from botocore.exceptions import BotoCoreError, ClientError

from cli.aws import identity_client
from cli.display import cell, table
from cli.errors import CliError, ExitCode
from cli.session import Session, connection_options, pass_session

MAX_SKEW_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what to do if it is not well."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@click.command("doctor")
@click.option("--aws/--no-aws", "looks_at_aws", default=True, help="Also check your AWS identity.")
@connection_options
@pass_session
def doctor(session: Session, looks_at_aws: bool) -> None:
    """Check AWS, KMS, tables, the scaler, the Vast key, balance, templates, HF_TOKEN and the clock.

    Ends with 5 if anything is wrong.

    \b
    ballast doctor
    ballast doctor --no-aws     without AWS credentials at hand
    """
    checks = [*(_check_aws() if looks_at_aws else ()), *_check_server(session)]
    rows = [
        (
            cell("✔", "green") if one.ok else cell("✘", "bold red"),
            one.name,
            one.detail,
            "" if one.ok else one.fix,
        )
        for one in checks
    ]
    session.show(
        [asdict(one) for one in checks], table("Doctor", ("", "check", "found", "fix"), rows)
    )
    bad = [one.name for one in checks if not one.ok]
    if bad:
        raise CliError(f"not well: {', '.join(bad)}", code=ExitCode.CHECK_FAILED)


def _check_aws() -> Sequence[Check]:
    try:
        identity = identity_client().get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        fix = "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_DEFAULT_REGION; or --no-aws"
        return [Check("AWS identity", False, type(error).__name__, fix)]
    return [Check("AWS identity", True, identity["Arn"])]


def _check_server(session: Session) -> Sequence[Check]:
    try:
        started = time.time()
        answer = session.server.get("/api/v0/doctor")
        finished = time.time()
    except CliError as error:
        return [Check("server", False, error.message, error.fix)]
    checks = [
        Check("server", True, f"{session.server.url} in {1000 * (finished - started):.0f} ms")
    ]
    if isinstance(answer.get("now"), int | float):
        skew_s = float(answer["now"]) - (started + finished) / 2
        fix = "set this machine's clock (NTP)"
        checks.append(Check("clock", abs(skew_s) < MAX_SKEW_S, f"{skew_s:+.1f} s off", fix))
    checks += [
        Check(
            str(one["name"]), bool(one["ok"]), str(one.get("detail", "")), str(one.get("fix", ""))
        )
        for one in answer["checks"]
    ]
    return checks


COMMANDS = (doctor,)
