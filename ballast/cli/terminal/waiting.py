"""Waiting, with progress, until no instance is left."""

from __future__ import annotations

import time

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from chalicelib.core.words import count

LOOK_EVERY_S = 2.0


def listed_at(session: Session) -> float:
    """When the deployment last had a list of Vast's that it trusts; 0: never, or nobody answers."""
    try:
        inventory = session.server.get("/api/v0/status")["account"]["inventory"]
    except CliError:
        return 0.0
    return float(inventory.get("at") or 0.0)


def wait_until_empty(
    session: Session, endpoint_id: int | None, timeout_s: float, *, since: float = 0.0
) -> Json:
    """Look at the status until a group (None: every group) has no worker, by a list after `since`.

    Raises:
        CliError: time is up, with how many are left; or machines are left that nobody can judge.
    """
    deadline = time.monotonic() + timeout_s
    with session.notes.status("waiting for the last instance to go …") as progress:
        while True:
            answer = _status(session, deadline)
            groups = [g for g in answer["groups"] if endpoint_id in (None, g["id"])]
            n_left = sum(int(group["n_workers"]) for group in groups)
            inventory = answer["account"]["inventory"]
            is_known = inventory["state"] == "known" and float(inventory.get("at") or 0.0) > since
            is_gone = not groups if endpoint_id is not None else n_left == 0
            if is_gone and is_known and endpoint_id is None and inventory["n_strays"]:
                raise _unjudged(int(inventory["n_strays"]))
            if is_gone and is_known:
                return {"n_instances": 0, "verified_at": inventory.get("at")}
            left = count(n_left, "instance is", "instances are")
            if is_known and n_left and _n_unconfirmed(session, endpoint_id) == n_left:
                raise CliError(
                    f"{left} left, and not destroyed before you confirm what is yours: under a "
                    "label that is not ours (any more)",
                    code=ExitCode.CHECK_FAILED,
                    fix="`ballast adopt` shows them and asks; or destroy them on Vast's own page",
                )
            if time.monotonic() > deadline and not n_left:
                raise CliError(
                    f"no instance is known to be left, but within {timeout_s:g} s no list of "
                    "Vast's that can be trusted proved it",
                    code=ExitCode.CHECK_FAILED,
                    fix="`ballast status` says why; `ballast panic --direct --stage …` asks Vast "
                    "itself",
                )
            if time.monotonic() > deadline:
                raise CliError(
                    f"{left} still there after {timeout_s:g} s",
                    code=ExitCode.CHECK_FAILED,
                    fix="`ballast status` says why; run this again to go on waiting",
                )
            progress.update(f"waiting for the last instance to go: {n_left} left")
            time.sleep(LOOK_EVERY_S)


def _status(session: Session, deadline: float) -> Json:
    """The status; who does not answer is asked again until time is up, for the deed goes on."""
    while True:
        try:
            return session.server.get("/api/v0/status")
        except CliError as error:
            if error.code is not ExitCode.UNREACHABLE:
                raise
            if time.monotonic() > deadline:
                raise CliError(
                    f"it was asked for, and nobody knows whether it is done: {error.message}",
                    code=ExitCode.UNREACHABLE,
                    fix="`ballast panic --direct --stage …` asks Vast itself; or look at Vast's "
                    "own page",
                ) from error
        time.sleep(LOOK_EVERY_S)


def _unjudged(n: int) -> CliError:
    runs = count(n, "instance runs", "instances run")
    return CliError(
        f"{runs} under our label, but in no book of ours: not destroyed",
        code=ExitCode.CHECK_FAILED,
        fix="`ballast status` names what is left; `ballast panic --direct --stage …` destroys what "
        "only this deployment can have labelled; the rest on Vast's own page",
    )


def _n_unconfirmed(session: Session, endpoint_id: int | None) -> int:
    rows = session.server.get("/api/v0/adopt")["instances"]
    return sum(row["why"] == "label" for row in rows if endpoint_id in (None, row["endpoint_id"]))
