"""Waiting, with progress, until no instance is left."""

from __future__ import annotations

import time

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from chalicelib.core.words import count

LOOK_EVERY_S = 2.0


def wait_until_empty(session: Session, endpoint_id: int | None, timeout_s: float) -> Json:
    """Look at the status until a group (None: every group) has no worker and the list is known.

    Raises:
        CliError: time is up, with how many are left.
    """
    deadline = time.monotonic() + timeout_s
    with session.notes.status("waiting for the last instance to go …") as progress:
        while True:
            answer = session.server.get("/api/v0/status")
            groups = [g for g in answer["groups"] if endpoint_id in (None, g["id"])]
            n_left = sum(int(group["n_workers"]) for group in groups)
            is_known = answer["account"]["inventory"]["state"] != "unknown"
            is_gone = not groups if endpoint_id is not None else n_left == 0
            if is_gone and is_known:
                return {"n_instances": 0, "verified_at": answer["account"]["inventory"].get("at")}
            left = count(n_left, "instance is", "instances are")
            if is_known and n_left and _n_unconfirmed(session, endpoint_id) == n_left:
                raise CliError(
                    f"{left} left, and not destroyed before you confirm what is yours: under a "
                    "label that is not ours (any more)",
                    code=ExitCode.CHECK_FAILED,
                    fix="`ballast adopt` shows them and asks; or destroy them on Vast's own page",
                )
            if time.monotonic() > deadline:
                raise CliError(
                    f"{left} still there after {timeout_s:g} s",
                    code=ExitCode.CHECK_FAILED,
                    fix="`ballast status` says why; run this again to go on waiting",
                )
            progress.update(f"waiting for the last instance to go: {n_left} left")
            time.sleep(LOOK_EVERY_S)


def _n_unconfirmed(session: Session, endpoint_id: int | None) -> int:
    rows = session.server.get("/api/v0/adopt")["instances"]
    return sum(row["why"] == "label" for row in rows if endpoint_id in (None, row["endpoint_id"]))
