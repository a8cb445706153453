"""Changing and deleting rows of the API: asks first where it could cost much, or lose workers."""

from __future__ import annotations

import click

from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.cost import confirm_cost
from ballast.cli.terminal.display import clean

ENDPOINTS = "/api/v0/endptjobs/"
AUTOGROUPS = "/api/v0/autojobs/"


def change_row(
    session: Session, path: str, row: Json, body: Json, *, is_sure: bool, is_dry: bool = False
) -> Json | None:
    """The row after a change; None after a dry run.

    What it would rent, start or stop, and what that costs, is shown and asked first.

    Raises:
        CliError: it is not confirmed, or refused.
    """
    if not body:
        raise click.UsageError("nothing to change; --help lists what can be")
    previews = [preview_body(path, row, body)]
    answers = confirm_cost(
        session, previews, "Make this change?", is_sure=is_sure or is_dry, always=False
    )
    if is_dry:
        session.show(answers[0], "Nothing was done (--dry-run)")
        return None
    print_notes(session, session.server.put(f"{path}{row['id']}/", body))
    changed: Json = session.server.get(f"{path}{row['id']}/")["result"]
    return changed


def print_notes(session: Session, answer: Json) -> None:
    """What an answer to a change says beside that it is done: what is overruled, what was made."""
    for note in (answer.get("msg"), *answer.get("warnings", ())):
        if note:
            session.notes.print(f"note: {clean(note)}", style="yellow")


def preview_body(path: str, row: Json, body: Json) -> Json:
    """The question what a change of a row would do and cost."""
    if path == ENDPOINTS:
        return {"endpoint_id": row["id"], "endpoint": body}
    return {"autogroup_id": row["id"], "autogroup": body}


def delete_row(session: Session, path: str, row: Json, name: str, *, is_sure: bool) -> None:
    """Delete a row and all its workers.

    Raises:
        CliError: it is not confirmed, or refused.
    """
    session.confirm(f"Delete {name} and destroy all its workers?", is_sure=is_sure)
    answer = session.server.delete(f"{path}{row['id']}/")
    session.show(answer, f"{name} is being deleted; `ballast status` follows it")
