"""`chaos`: switch on a named fault of the local system: its marketplace or its gateway."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import not_found
from ballast.cli.remote.server import Json, Server, is_loopback
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import table

MARKET_PATH = "/_market/faults"
GATEWAY_PATH = "/_gateway/faults"
GATEWAY_FAULTS = frozenset({"report-loss", "own-ingest-down"})


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
    """Break the local system in a named way; without a name, list the ways and what is on.

    \b
    ballast chaos host-dies
    ballast chaos create-timeout-rented --off
    ballast chaos own-ingest-down
    """
    market_url = market_url or os.environ.get("BALLAST_MARKET_URL", "")
    if fault is None:
        _show_all(session, market_url)
        return
    if fault in GATEWAY_FAULTS:
        where, path = _local(session.server), GATEWAY_PATH
    else:
        where, path = _market(market_url), MARKET_PATH
        known = where.get(MARKET_PATH)["known"]
        if fault not in known:
            every = [*known, *GATEWAY_FAULTS]
            raise not_found("fault", fault, every, "`ballast chaos` lists all")
    body: Json = {"fault": fault, "on": not off}
    for option in options:
        name, _, value = option.partition("=")
        body[name] = _plain(value)
    answer = where.post(path, body)
    session.show(answer, f"{fault} is {'off' if off else 'on'}")


def _show_all(session: Session, market_url: str) -> None:
    answers = _market(market_url).get(MARKET_PATH), _local(session.server).get(GATEWAY_PATH)
    known = [name for answer in answers for name in answer["known"]]
    active = {name: options for answer in answers for name, options in answer["active"].items()}
    rows = [(name, "on" if name in active else "") for name in known]
    session.show({"known": known, "active": active}, table("Faults", ("fault", "state"), rows))


def _market(url: str) -> Server:
    if not url:
        raise CliError(
            "chaos needs the local system's marketplace",
            code=ExitCode.USAGE,
            fix="start `make dev`; give --market-url as it prints it, or set BALLAST_MARKET_URL",
        )
    return _local(Server(url, "no-key-needed"))


def _local(server: Server) -> Server:
    if not is_loopback(urlsplit(server.url).hostname or ""):
        raise CliError(
            f"{server.url} is not on this machine: faults are for the local system only",
            code=ExitCode.USAGE,
            fix="use the URLs that `make dev` prints",
        )
    return server


def _plain(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


COMMANDS = (chaos,)
