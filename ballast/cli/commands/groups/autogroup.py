"""`create|show|update|delete autogroup`."""

from __future__ import annotations

import click

from ballast.cli.lookup import find_autogroup, list_autogroups, without_key
from ballast.cli.parameters import AUTOGROUP_FIELDS, WHOLE, field_options, given
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.changes import AUTOGROUPS, change_row, delete_row, print_notes
from ballast.cli.terminal.cost import confirm_cost, update_lines
from ballast.cli.terminal.display import cell, number, table
from chalicelib.core.model.market import machine_fits
from chalicelib.core.words import count

FROM_TEMPLATE = "from the template"


@click.command("autogroup")
@click.option(
    "--endpoint-name", help="Endpoint group it belongs to; one that is not there is made."
)
@click.option("--endpoint-id", type=WHOLE, help="Endpoint group by id instead.")
@field_options(AUTOGROUP_FIELDS)
@click.option("--dry-run", is_flag=True, help="Show what it would do and cost, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask: rent as shown.")
@connection_options
@pass_session
def create_autogroup(session: Session, /, yes: bool, dry_run: bool, **values: object) -> None:
    """Create an autogroup: shows what it would rent and cost, asks, and rents at once.

    \b
    ballast create autogroup --endpoint_name "TGI-Llama3" \\
        --template_hash $TEMPLATE_HASH --test_workers 5 --yes
    """
    body = given(values)
    if not {"endpoint_name", "endpoint_id"} & body.keys():
        raise click.UsageError("say which endpoint group: --endpoint_name NAME")
    if {"endpoint_name", "endpoint_id"} <= body.keys():
        raise click.UsageError("--endpoint_name and --endpoint_id: give one of them")
    if not {"template_hash", "template_id", "launch_args"} & body.keys():
        raise click.UsageError("say what to run: --template_hash HASH")
    question = "Create it, and rent as shown?"
    shown = confirm_cost(session, [{"autogroup": body}], question, is_sure=yes or dry_run)
    if dry_run:
        session.show(shown[0], "Nothing was done (--dry-run)")
        return
    answer = session.server.post("/api/v0/autojobs/", body)
    row = session.server.get(f"/api/v0/autojobs/{answer['id']}/")["result"]
    print_notes(session, answer)
    show_one(session, row, f"Created autogroup {row['id']} of {row['endpoint_name']}")


@click.command("autogroup")
@click.argument("name", required=False)
@connection_options
@pass_session
def show_autogroup(session: Session, name: str | None) -> None:
    """Show one autogroup (id, template hash, or endpoint name for its newest), or all.

    \b
    ballast show autogroups
    ballast show autogroup 101
    """
    if name is not None:
        row = find_autogroup(session.server, name)
        show_one(session, row, f"Autogroup {row['id']} of {row['endpoint_name']}")
        return
    rows = [without_key(row) for row in list_autogroups(session.server)]
    columns = (
        ">id", "endpoint", "?template", "search", ">weight", "?>tier", "state", "GPU tests",
    )  # fmt: skip
    lines = [
        (
            row["id"],
            row.get("endpoint_name"),
            row.get("template_hash") or row.get("template_id"),
            row.get("search_params") or FROM_TEMPLATE,
            number(row.get("weight")),
            number(row.get("tier")),
            row.get("state"),
            explored(row),
        )
        for row in rows
    ]
    session.show(rows, table(count(len(rows), "autogroup"), columns, lines))


@click.command("autogroup")
@click.argument("name")
@field_options(AUTOGROUP_FIELDS)
@click.option("--state", type=click.Choice(("active", "paused")), help="Paused: no new requests.")
@click.option("--dry-run", is_flag=True, help="Show what it would do and cost, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, even if it could cost much.")
@connection_options
@pass_session
def update_autogroup(
    session: Session, /, name: str, yes: bool, dry_run: bool, **values: object
) -> None:
    """Change an autogroup. After a new template, `ballast update workers ID` rolls it out.

    \b
    ballast update autogroup 101 --search_params 'gpu_name=RTX_4090 num_gpus=1'
    ballast update autogroup 101 --template_hash $NEW_HASH
    """
    row = find_autogroup(session.server, name)
    changed = change_row(session, AUTOGROUPS, row, given(values), is_sure=yes, is_dry=dry_run)
    if changed is None:
        return
    show_one(session, changed, f"Updated autogroup {row['id']}", before=row)
    if any(changed.get(name) != row.get(name) for name in ("template_revision", "search_query")):
        session.notes.print(
            f"next: `ballast update workers {row['id']}` replaces the workers of the old template "
            "or search; machines that fit are kept",
            style="yellow",
        )


@click.command("autogroup")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def delete_autogroup(session: Session, name: str, yes: bool) -> None:
    """Delete an autogroup; its workers are drained and destroyed.

    \b
    ballast delete autogroup 101
    """
    row = find_autogroup(session.server, name)
    whose = f"autogroup {row['id']} of {row['endpoint_name']}"
    delete_row(session, AUTOGROUPS, row, whose, is_sure=yes)


@click.command("workers")
@click.argument("name")
@click.option("--cancel", is_flag=True, help="Stop a rolling update in progress.")
@click.option("--dry-run", is_flag=True, help="Show what it would do and cost, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def update_workers(session: Session, name: str, cancel: bool, dry_run: bool, yes: bool) -> None:
    """Replace the workers of an autogroup by ones of its present template, without a gap.

    \b
    ballast update workers 101
    ballast update workers 101 --cancel
    """
    row = find_autogroup(session.server, name)
    body: Json = {"workergroup_id": row["id"]}
    if cancel:
        body["cancel_update"] = True
    elif not _is_wanted(session, row, is_sure=yes, is_dry=dry_run):
        return
    elif "revision" in row:
        body["revision"] = row["revision"]  # of what was shown
    answer = session.server.post("/update_workers/", body)
    n = answer["workers_to_update"] if not cancel else 0
    done = "The update is cancelled" if cancel else f"{count(n, 'worker')} will be replaced"
    session.show(answer, done)


def _is_wanted(session: Session, row: Json, *, is_sure: bool, is_dry: bool) -> bool:
    """Whether an update is to begin, once it was shown what it would do and cost."""
    workers = session.server.workers(endpoint_id=row["endpoint_id"])
    own = [one for one in workers if one.get("autogroup_id", row["id"]) == row["id"]]
    revision, query = row.get("template_revision", 1), row.get("search_query") or {}
    n_outdated = sum(
        one.get("template_revision", revision) < revision
        or not machine_fits(query, gpu_name=one["gpu_name"], num_gpus=one["num_gpus"])
        for one in own
    )
    group = session.server.get(f"/api/v0/endptjobs/{row['endpoint_id']}/")["result"]
    states = [str(one["status"]) for one in workers]
    told = update_lines(len(own), n_outdated, states, group.get("max_workers"))
    body = {"autogroup_id": row["id"], "update_workers": True}
    question = "; ".join([*told, "Replace them?"])
    shown = confirm_cost(session, [body], question, is_sure=is_sure or is_dry)
    if is_dry:
        session.show(shown[0], *told, "Nothing was done (--dry-run)")
    return not is_dry


def show_one(session: Session, row: Json, title: str, *, before: Json | None = None) -> None:
    """Print every parameter, and what changed."""
    row = without_key(row)
    lines = []
    for field in AUTOGROUP_FIELDS:
        value = row.get(field.name)
        changed = before is not None and before.get(field.name) != value
        shown = FROM_TEMPLATE if field.name == "search_params" and not value else value
        lines.append((field.name, cell(shown, "bold" if changed else "")))
    lines.append(("state", cell(row.get("state"))))
    lines.append(("GPU tests", cell(explored(row))))
    session.show(row, table(title, ("parameter", "in force"), lines))


def explored(row: Json) -> str | None:
    """How far the first look at machine types is; None if the deployment is too old to tell."""
    exploration = row.get("exploration") or {}
    if exploration.get("phase") != "exploring":
        return exploration.get("phase")
    return f"{exploration['n_loaded']} of {exploration['n_needed']} needed test workers have loaded"


COMMANDS = {
    "create": create_autogroup,
    "show": show_autogroup,
    "update": update_autogroup,
    "delete": delete_autogroup,
}
