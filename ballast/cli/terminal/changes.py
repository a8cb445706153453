"""Changing and deleting rows of the API: asks first where it could cost much, or lose workers."""

from __future__ import annotations

from collections.abc import Callable

import click

from ballast.cli.errors import CliError
from ballast.cli.remote.server import CONFLICT, Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.cost import confirm_cost, show_cost
from ballast.cli.terminal.display import clean

ENDPOINTS = "/api/v0/endptjobs/"
AUTOGROUPS = "/api/v0/autojobs/"


_BY_ITSELF = frozenset({"revision", "api_key", "auto", "given", "exploration", "rollout_by"})
"""Fields of a row that change without an owner, or with another field."""


class ChangedMeanwhileError(CliError):
    """Somebody else changed the row since it was read; nothing was stored. `row`: as it is now."""

    def __init__(self, row: Json, what: str) -> None:
        super().__init__(
            f"somebody else changed it meanwhile: {what}; nothing of yours was done",
            fix="look whether you still want it, then ask again",
        )
        self.row = row


def change_row(
    session: Session, path: str, row: Json, body: Json, *, is_sure: bool, is_dry: bool = False
) -> Json | None:
    """The row after a change; None after a dry run.

    What it would rent, start or stop, and what that costs, is shown and asked first; and again if
    somebody else changes the row meanwhile.

    Raises:
        CliError: it is not confirmed, or refused; or changed meanwhile, and nobody is to be asked.
    """
    if not body:
        raise click.UsageError("nothing to change; --help lists what can be")
    preview = preview_body(path, row, body)
    if is_dry:
        [shown] = show_cost(session, [preview])
        session.show(shown, "Nothing was done (--dry-run)")
        return None

    def store(seen: Json) -> Json:
        return put_row(session, path, seen, body)

    print_notes(session, ask_and_store(session, preview, row, store, is_sure=is_sure))
    changed: Json = session.server.get(f"{path}{row['id']}/")["result"]
    return changed


def ask_and_store(
    session: Session,
    preview: Json,
    seen: Json,
    store: Callable[[Json], Json],
    *,
    is_sure: bool,
) -> Json:
    """Ask with what it would do and cost, then store a change of what was seen; gives the answer.

    `store` is asked again, after another question, for what somebody else made of it meanwhile.

    Raises:
        CliError: it is not confirmed, or refused; or changed meanwhile, and nobody is to be asked.
    """
    is_again = False
    while True:
        question = "Make this change?"
        confirm_cost(session, [preview], question, is_sure=is_sure, always=is_again)
        try:
            return store(seen)
        except ChangedMeanwhileError as error:
            if is_sure:
                raise
            session.notes.print(f"! {error.message}", style="yellow")
            seen, is_again = error.row, True


def put_row(session: Session, path: str, row: Json, body: Json) -> Json:
    """Store a change of a row if it still is what was read; gives the server's answer.

    Raises:
        ChangedMeanwhileError: an owner changed it since.
        CliError: it is refused.
    """
    while True:
        seen = {"revision": row["revision"]} if "revision" in row else {}
        try:
            return session.server.put(f"{path}{row['id']}/", {**body, **seen})
        except CliError as error:
            if error.kind != CONFLICT:
                raise
            present: Json = session.server.get(f"{path}{row['id']}/")["result"]
            if present.get("revision") == row.get("revision"):
                raise  # of another kind: its new name is taken
        if told := differences(row, present):
            raise ChangedMeanwhileError(present, told)
        row = present  # the scaler's own bookkeeping


def differences(before: Json, after: Json) -> str:
    """What an owner changed between two looks at a row, in words; empty if nothing."""
    names = [name for name in {**before, **after} if name not in _BY_ITSELF]
    return ", ".join(
        f"{name} {clean(before.get(name))} → {clean(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    )


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
