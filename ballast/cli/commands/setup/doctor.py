"""`doctor`: everything that must be right before money is spent, each line with its fix."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import click
from botocore.exceptions import BotoCoreError, ClientError

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.parameters import STAGE
from ballast.cli.remote.aws import (
    aws_trouble,
    concurrency_quota,
    describe_key,
    describe_secret,
    describe_table,
    identity_client,
)
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import cell, table
from chalicelib.settings import Settings

MAX_SKEW_S = 30.0
LEAST_CONCURRENCY = 100  # of Lambda executions; a new account has 10
QUOTA_PAGE = "https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384"


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what to do if it is not well."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@click.command("doctor")
@click.option("--aws/--no-aws", "looks_at_aws", default=True, help="Also check your AWS account.")
@STAGE
@connection_options
@pass_session
def doctor(session: Session, looks_at_aws: bool, stage: str | None) -> None:
    """Check AWS, KMS, tables, the scaler, the Vast key, balance, templates, HF_TOKEN and the clock.

    Ends with 5 if anything is wrong.

    \b
    ballast doctor
    ballast doctor --no-aws     without AWS credentials at hand
    """
    served = _served_by(session)
    looks_at_aws &= not served.get("is_simulated") or stage is not None
    stage = stage or str(served.get("stage", ""))
    checks = [*(_check_aws(stage) if looks_at_aws else ()), *_check_server(session)]
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


def _served_by(session: Session) -> Json:
    """Which deployment the server is: `stage`, `is_simulated`; {} if it does not answer."""
    try:
        return session.server.get("/api/v0/status")
    except CliError:
        return {}


def _check_aws(stage: str) -> Sequence[Check]:
    """Who the owner is there, and whether that may look at what a deployment stands on."""
    try:
        identity = identity_client().get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        found, fix = aws_trouble(error)
        return [Check("AWS identity", False, found, f"{fix}; or --no-aws")]
    if not stage:
        found = "which deployment? The server does not answer"
        return [
            Check("AWS identity", True, identity["Arn"]),
            Check("AWS deployment", False, found, "--stage NAME, as in `make deploy STAGE=NAME`"),
        ]
    settings = Settings.from_environment({**os.environ, "BALLAST_STAGE": stage})
    return [
        Check("AWS identity", True, identity["Arn"]),
        _check_quota(),
        *(
            _check_part(name, what, describe, stage)
            for name, what, describe in (
                ("AWS tables", f"{settings.table_prefix}-config", describe_table),
                ("AWS key", settings.kms_alias, describe_key),
                ("AWS secret", settings.vast_key_secret, describe_secret),
            )
        ),
    ]


def _check_quota() -> Check:
    """New accounts run ten functions at once: an eleventh request is answered 503."""
    try:
        quota = concurrency_quota()
    except (ClientError, BotoCoreError) as error:
        fix = "allow lambda:GetAccountSettings, or look at the quota yourself"
        return Check("AWS quota", False, f"not told: {aws_trouble(error)[0]}", fix)
    found = f"{quota} functions may run at once in this account"
    return Check("AWS quota", quota >= LEAST_CONCURRENCY, found, f"ask for 1000 at {QUOTA_PAGE}")


def _check_part(name: str, what: str, describe: Callable[[str], object], stage: str) -> Check:
    try:
        describe(what)
    except (ClientError, BotoCoreError) as error:
        found, fix = aws_trouble(error)
        if "NotFound" in found:
            fix = f"{fix} `python -m infra.deploy core --stage {stage}` makes it, and the admin key"
        return Check(name, False, f"{what}: {found}", fix)
    return Check(name, True, f"{what} is there, and you may look at it")


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
