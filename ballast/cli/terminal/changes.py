"""Changing and deleting rows of the API: asks first where it could cost much, or lose workers."""

from __future__ import annotations

import click

from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.caution import risks

ENDPOINTS = "/api/v0/endptjobs/"
AUTOGROUPS = "/api/v0/autojobs/"


def change_row(session: Session, path: str, row: Json, body: Json, *, is_sure: bool) -> Json:
    """The row after a change.

    Raises:
        CliError: it is not confirmed, or refused.
    """
    if not body:
        raise click.UsageError("nothing to change; --help lists what can be")
    session.confirm_risks(risks(body, row), is_sure=is_sure)
    session.server.put(f"{path}{row['id']}/", body)
    changed: Json = session.server.get(f"{path}{row['id']}/")["result"]
    return changed


def delete_row(session: Session, path: str, row: Json, name: str, *, is_sure: bool) -> None:
    """Delete a row and all its workers.

    Raises:
        CliError: it is not confirmed, or refused.
    """
    session.confirm(f"Delete {name} and destroy all its workers?", is_sure=is_sure)
    answer = session.server.delete(f"{path}{row['id']}/")
    session.show(answer, f"{name} is being deleted; `ballast status` follows it")
