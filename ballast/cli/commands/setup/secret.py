"""`secret set`: put a secret where only the scaler may read it. Asked for, never an argument."""

from __future__ import annotations

import os
import sys

import click
from botocore.exceptions import BotoCoreError, ClientError

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.parameters import STAGE, Word, needed_stage
from ballast.cli.remote.aws import aws_trouble, secrets_client
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import clean
from chalicelib.adapters.system import SystemClock
from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.core.fleet.pacing import Pacing
from chalicelib.services.market.key_rights import NAMES_OF_RIGHTS, try_rights
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.settings import Settings

NAMES = ("VAST_API_KEY",)
LONGEST_CHECK_S = 60.0


@click.group("secret")
def secret() -> None:
    """Store secrets of the deployment, with your own AWS credentials.

    \b
    ballast secret set VAST_API_KEY --stage prod
    """


@secret.command("set")
@click.argument("name", type=Word(NAMES))
@STAGE
@click.option("--unchecked", is_flag=True, help="Store it without asking Vast what it may do.")
@connection_options
@pass_session
def set_secret(session: Session, name: str, stage: str | None, unchecked: bool) -> None:
    """Store a secret; it is asked for and not shown. In force within five minutes, no deployment.

    Vast is asked first what the key may do; a key that lacks a right is named and not stored.

    \b
    ballast secret set VAST_API_KEY --stage prod
    ballast secret set VAST_API_KEY --stage prod < file      where no terminal is
    """
    stage = needed_stage(stage)
    if sys.stdin.isatty():
        value = click.prompt(f"{name} (not shown)", hide_input=True).strip()
    else:
        value = sys.stdin.readline().strip()
    if len(value) < 16 or not value.isascii() or any(letter.isspace() for letter in value):
        raise CliError(
            f"that is not a usable {name}",
            code=ExitCode.USAGE,
            fix="give the bare key, no spaces: at a terminal, or on standard input",
        )
    settings = Settings.from_environment({**os.environ, "BALLAST_STAGE": stage})
    if not unchecked:
        _check_rights(session, settings.vast_url, value)
    client = secrets_client()
    try:
        client.put_secret_value(SecretId=settings.vast_key_secret, SecretString=value)
    except client.exceptions.ResourceNotFoundException as error:
        # Made here, it would belong to no deployment, and the one that was meant keeps its old key.
        raise CliError(
            f"stage {stage} is not deployed in this account and region: there is no secret "
            f"{settings.vast_key_secret}",
            code=ExitCode.USAGE,
            fix=f"name the right --stage, or deploy it: make deploy STAGE={stage}",
        ) from error
    except (ClientError, BotoCoreError) as error:
        found, fix = aws_trouble(error)
        raise CliError(
            f"AWS did not store it: {found}", code=ExitCode.UNREACHABLE, fix=fix
        ) from error
    told = f"Stored for stage {stage} as {settings.vast_key_secret}"
    session.show({"stage": stage, "secret": settings.vast_key_secret}, told)


def _check_rights(session: Session, vast_url: str, key: str) -> None:
    """Try what the key may do.

    Raises:
        CliError: Vast refuses something that the product needs, or does not say.
    """
    clock = SystemClock()
    vast = VastMarketplace(url=vast_url, api_key=lambda: key, clock=clock)
    market = PacedMarket(vast, clock, Pacing(), waits_until=clock.now() + LONGEST_CHECK_S)
    with session.notes.status("asking Vast what this key may do …"):
        rights = try_rights(market)
    for right in rights.tried:
        said = rights.refused.get(right) or rights.unanswered.get(right)
        mark = "?" if right in rights.unanswered else "✘" if said else "✔"
        session.notes.print(f"{mark} {clean(f'{right}: {said}' if said else right)}")
    if rights.refused:
        raise CliError(
            f"not stored: Vast refuses this key {', '.join(rights.refused)}",
            code=ExitCode.CHECK_FAILED,
            fix=f"make a key with {NAMES_OF_RIGHTS} at https://cloud.vast.ai/manage-keys/",
        )
    if rights.unanswered:
        raise CliError(
            f"not stored: Vast did not say whether the key may {', '.join(rights.unanswered)}",
            code=ExitCode.UNREACHABLE,
            fix="try again, or store it as it is with --unchecked",
        )


COMMANDS = (secret,)
