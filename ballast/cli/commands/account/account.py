"""`show|update account`: the caps that hold over all groups."""

from __future__ import annotations

import click
from rich.text import Text

from ballast.cli.errors import CliError
from ballast.cli.parameters import ACCOUNT_FIELDS, field_options, given
from ballast.cli.remote.server import CONFLICT, Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.changes import ChangedMeanwhileError, ask_and_store, differences
from ballast.cli.terminal.display import table, usd


@click.command("account")
@connection_options
@pass_session
def show_account(session: Session) -> None:
    """Show caps and what is spent against them.

    \b
    ballast show account
    """
    _show(session, session.server.get("/api/v0/status")["account"])


@click.command("account")
@field_options(ACCOUNT_FIELDS)
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def update_account(session: Session, /, yes: bool, **values: object) -> None:
    """Change the account's caps; the lower of these and a group's own counts.

    \b
    ballast update account --max_usd_per_day 40
    """
    body = given(values)
    if not body:
        raise click.UsageError("nothing to change; see `ballast update account --help`")

    def store(caps: Json) -> Json:
        try:
            return session.server.put("/api/v0/account/", {**body, "expected": caps})
        except CliError as error:
            now = _caps(session)
            if error.kind != CONFLICT or now == caps:
                raise
            raise ChangedMeanwhileError(now, differences(caps, now)) from error

    ask_and_store(session, {"account": body}, _caps(session), store, is_sure=yes)
    _show(session, session.server.get("/api/v0/status")["account"])


def _caps(session: Session) -> Json:
    """The caps as they are, by the names under which they are set."""
    caps = session.server.get("/api/v0/status")["account"]["caps"]
    return {f"max_{name}": usd for name, usd in caps.items()}


def _show(session: Session, account: Json) -> None:
    caps = account["caps"]
    session.show(
        account,
        table(
            "Account",
            ("", ">now", ">cap"),
            [
                (
                    "committed per hour",
                    usd(account["committed_usd_per_hour"]),
                    usd(caps["usd_per_hour"]),
                ),
                (
                    "counted today (UTC)",
                    usd(account["counted_today_usd"]),
                    usd(caps["usd_per_day"]),
                ),
                (
                    "counted this month",
                    usd(account["counted_month_usd"]),
                    usd(caps["usd_per_month"]),
                ),
                ("of today's, idle", usd(account["idle_today_usd"]), usd(caps["idle_usd_per_day"])),
                ("likely spent today", usd(account["spent_today_usd"]), ""),
            ],
        ),
        Text("Counted: against the caps, with image downloads and doubt at their worst."),
    )


COMMANDS = {"show": show_account, "update": update_account}
