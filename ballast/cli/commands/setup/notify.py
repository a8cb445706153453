"""`notify add|list|remove|test`: who is told of trouble, and proof that it reaches them."""

from __future__ import annotations

import time

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import find_receiver
from ballast.cli.parameters import SECONDS
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import FittingTable, cell, moment, table

CHANNELS = ("email", "slack", "discord", "webhook")
_COLOURS = {"delivered": "green", "confirmed": "green", "pending": "yellow", "failed": "bold red"}


@click.group("notify")
def notify() -> None:
    """Who is told when something needs a human: alarms of AWS and notices of Ballast.

    \b
    ballast notify add email you@example.com
    ballast notify add slack https://hooks.slack.com/services/…
    ballast notify test
    """


@notify.command("add")
@click.argument("channel", type=click.Choice([*CHANNELS, "e-mail"]))
@click.argument("address")
@click.option("--name", help="What to call it; without it, the channel's name.")
@connection_options
@pass_session
def add(session: Session, channel: str, address: str, name: str | None) -> None:
    """Add a receiver. An e-mail address counts once its owner follows the link that AWS sends.

    \b
    ballast notify add discord https://discord.com/api/webhooks/…
    """
    channel = "email" if channel == "e-mail" else channel
    body: Json = {"channel": channel, "address": address}
    if name is not None:
        body["name"] = name
    answer = session.server.post("/api/v0/receivers/", body)
    hint = (
        "AWS sends a message to it: follow its link, then `ballast notify test`"
        if channel == "email"
        else "now try it: `ballast notify test`"
    )
    session.show(answer, f"{answer['result']['name']} is added; {hint}")


@notify.command("list")
@connection_options
@pass_session
def list_receivers(session: Session) -> None:
    """Show the receivers, and what became of the last notice to each.

    \b
    ballast notify list
    """
    rows = session.server.get("/api/v0/receivers/")["results"]
    session.show(rows, receivers_table(rows) if rows else "nobody is told: `ballast notify add`")


@notify.command("remove")
@click.argument("name")
@connection_options
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a receiver.

    \b
    ballast notify remove slack
    """
    name = find_receiver(session.server, name)["name"]
    answer = session.server.delete(f"/api/v0/receivers/{name}/")
    session.show(answer, f"{name} is told nothing any more")


@notify.command("test")
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=30, show_default=True, help="Seconds to wait."
)
@connection_options
@pass_session
def test(session: Session, timeout_s: float) -> None:
    """Send a test the way an alarm goes, and see whether each receiver was reached.

    Ends with 5 if nobody was.

    \b
    ballast notify test
    """
    sent_at = float(session.server.post("/api/v0/receivers/test/", {})["sent_at"])
    give_up_at = time.monotonic() + timeout_s
    while True:
        rows = session.server.get("/api/v0/receivers/")["results"]
        open_rows = [r for r in rows if r["state"] != "pending" and (r["at"] or 0.0) < sent_at]
        if not open_rows or time.monotonic() > give_up_at:
            break
        time.sleep(1.0)
    session.show(rows, receivers_table(rows))
    reached = [r for r in rows if r["state"] == "delivered" and (r["at"] or 0.0) >= sent_at]
    if not reached:
        raise CliError(
            "the test reached nobody",
            code=ExitCode.CHECK_FAILED,
            fix="follow the link in AWS's e-mail, mend the address, or add another receiver",
        )


def receivers_table(rows: list[Json]) -> FittingTable:
    """The receivers for people."""
    shown = [
        (
            row["name"],
            row["channel"],
            row["address"],
            cell(row["state"], _COLOURS.get(row["state"], "")),
            moment(row["at"]) if row["at"] else "",
            row["detail"],
        )
        for row in rows
    ]
    return table("Receivers", ("name", "channel", "address", "state", "at", "detail"), shown)


COMMANDS = (notify,)
