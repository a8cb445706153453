"""`chaos`: switch on a named fault of the local system's marketplace. Never a real one."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

from cli.display import table
from cli.errors import CliError, ExitCode
from cli.server import Json, Server, is_loopback
from cli.session import Session, connection_options, pass_session

FAULTS_PATH = "/_market/faults"


@click.command("chaos")
@click.argument("fault", required=False)
@click.option("--off", is_flag=True, help="Switch it off again.")
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Detail of the fault, e.g. instance_id=1001.",
)
@click.option("--market-url", help="The local marketplace; or BALLAST_MARKET_URL.")
@connection_options
@pass_session
def chaos(
    session: Session, fault: str | None, off: bool, options: tuple[str, ...], market_url: str | None
) -> None:
    """Break the local marketplace in a named way; without a name, list the ways and what is on.

    \b
    ballast chaos host-dies
    ballast chaos create-timeout-rented --off
    """
    market = _local_market(market_url or os.environ.get("BALLAST_MARKET_URL", ""))
    if fault is None:
        answer = market.get(FAULTS_PATH)
        rows = [(name, "on" if name in answer["active"] else "") for name in answer["known"]]
        session.show(answer, table("Faults", ("fault", "state"), rows))
        return
    body: Json = {"fault": fault, "on": not off}
    for option in options:
        name, _, value = option.partition("=")
        body[name] = _plain(value)
    answer = market.post(FAULTS_PATH, body)
    session.show(answer, f"{fault} is {'off' if off else 'on'}")


def _local_market(url: str) -> Server:
    if not url:
        raise CliError(
            "chaos needs the local system's marketplace",
            code=ExitCode.USAGE,
            fix="start `make dev`; give --market-url as it prints it, or set BALLAST_MARKET_URL",
        )
    if not is_loopback(urlsplit(url).hostname or ""):
        raise CliError(
            f"{url} is not on this machine: faults are for the local system only",
            code=ExitCode.USAGE,
            fix="give the market URL that `make dev` prints",
        )
    return Server(url, "no-key-needed")


def _plain(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


COMMANDS = (chaos,)
