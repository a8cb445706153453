"""`adopt`: confirm machines that were found by their labels alone, after tables were lost."""

from __future__ import annotations

import click

from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import table, usd


@click.command("adopt")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def adopt(session: Session, yes: bool) -> None:
    """Confirm that machines which were found by their labels are this deployment's.

    After tables were lost, machines with our label serve and bill, and none is destroyed. Compare
    the list with Vast's page; once you have confirmed it, they are scaled down like all others.

    \b
    ballast adopt
    """
    answer = session.server.get("/api/v0/adopt")
    rows = [
        (
            f"{row['instance_id']}",
            str(row["endpoint_name"]),
            str(row["state"]),
            str(row["gpu"]),
            usd(row["usd_per_hour"]),
        )
        for row in answer["instances"]
    ]
    if not rows:
        session.show(answer, "Nothing waits to be confirmed")
        return
    columns = ("instance", "endpoint", "state", "GPU", ">$/h")
    session.notes.print(table("Found by their labels alone", columns, rows))
    session.confirm(f"Are these {len(rows)} yours, to be destroyed when idle?", is_sure=yes)
    ids = [row["instance_id"] for row in answer["instances"]]
    done = session.server.post("/api/v0/adopt", {"instance_ids": ids})
    session.show(done, f"{done['n_confirmed']} instances confirmed")


COMMANDS = (adopt,)
