"""`adopt`: confirm machines of which table and label do not both say that they are ours."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.parameters import WHOLE
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import clean, table, usd
from chalicelib.core.words import count

_WHY = {"table": "its row was lost", "label": "its label is not ours"}


@click.command("adopt")
@click.argument("instance_ids", nargs=-1, type=WHOLE, metavar="[INSTANCE_ID]...")
@click.option("--not-ours", is_flag=True, help="Take them out of the books; nothing else is done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def adopt(session: Session, instance_ids: tuple[int, ...], not_ours: bool, yes: bool) -> None:
    """Confirm that machines are this deployment's, though table and label do not both say so.

    After tables were lost, or when somebody edited a label, machines serve and bill, and none of
    them is destroyed. Compare the list with Vast's page; once you have confirmed it, they are
    scaled down like all others.

    \b
    ballast adopt                    all that wait, after one question
    ballast adopt 20481 20482        these alone
    ballast adopt 20481 --not-ours   a machine of yours that came into the books by mistake
    """
    waiting = _waiting(session)
    if not_ours and not instance_ids:
        raise CliError(
            "--not-ours: which instances?",
            code=ExitCode.USAGE,
            fix="give their ids: `ballast adopt 20481 --not-ours`",
        )
    unknown = sorted(set(instance_ids) - {int(row["instance_id"]) for row in waiting})
    if unknown:
        raise CliError(
            f"instance {unknown[0]} does not wait to be confirmed",
            code=ExitCode.USAGE,
            fix="`ballast adopt` without ids shows those that do",
        )
    rows = [row for row in waiting if not instance_ids or int(row["instance_id"]) in instance_ids]
    if not rows:
        session.show({"instances": []}, "Nothing waits to be confirmed")
        return
    columns = ("instance", "endpoint", "state", "GPU", ">$/h", "why")
    session.notes.print(table("Wait to be confirmed", columns, [_cells(row) for row in rows]))
    whose = "not this deployment's" if not_ours else "this deployment's, to be destroyed when idle"
    session.confirm(f"Are these {len(rows)} {whose}?", is_sure=yes)
    done = _settle(session, [int(row["instance_id"]) for row in rows], are_ours=not not_ours)
    said = "taken out of the books" if not_ours else "confirmed"
    session.show(done, f"{count(len(rows), 'instance')} {said}")


def confirm_mislabelled(session: Session, *, is_sure: bool) -> None:
    """In a panic: ask for each machine under another label by itself; what is not named stays."""
    strange = [row for row in _waiting(session) if row["why"] == "label"]
    chosen = [int(row["instance_id"]) for row in strange if is_sure or _is_chosen(row)]
    if chosen:
        _settle(session, chosen, are_ours=True)


def _is_chosen(row: Json) -> bool:
    what = ", ".join(clean(cell) for cell in _cells(row)[1:])
    question = f"Instance {row['instance_id']} ({what}): destroy it too?"
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        return False  # nobody is there to answer: it stays, and the end names it


def _waiting(session: Session) -> Sequence[Json]:
    rows: Sequence[Json] = session.server.get("/api/v0/adopt")["instances"]
    return rows


def _settle(session: Session, ids: Sequence[int], *, are_ours: bool) -> Json:
    body: Json = {"instance_ids": list(ids), "ours": are_ours}
    return session.server.post("/api/v0/adopt", body)


def _cells(row: Json) -> tuple[str, ...]:
    return (
        f"{row['instance_id']}",
        str(row["endpoint_name"]),
        str(row["state"]),
        str(row["gpu"]),
        usd(row["usd_per_hour"]),
        _WHY.get(str(row.get("why")), ""),
    )


COMMANDS = (adopt,)
