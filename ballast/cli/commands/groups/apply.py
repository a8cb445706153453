"""`apply -f group.yaml`: make a group what the file says, after showing the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

import click
from rich.text import Text

from ballast.cli.errors import CliError
from ballast.cli.lookup import list_autogroups, list_endpoints
from ballast.cli.manifest import Change, Manifest, compare_manifest, parse_manifest
from ballast.cli.remote.server import CONFLICT, Json, Server
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.cost import confirm_cost
from ballast.cli.terminal.display import clean
from chalicelib.core.words import count

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
_PATHS = {"endpoint": "/api/v0/endptjobs/", "autogroup": "/api/v0/autojobs/"}


@click.command("apply")
@click.option(
    "-f",
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="YAML; - for standard input.",
)
@click.option("--dry-run", is_flag=True, help="Show the difference, do nothing.")
@click.option("--prune", is_flag=True, help="Delete autogroups that the file does not name.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def apply(session: Session, file: TextIO, dry_run: bool, prune: bool, yes: bool) -> None:
    """Create or change a group and its autogroups as a file says.

    \b
    ballast apply -f group.yaml --dry-run
    """
    try:
        text = file.read()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file.name} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise click.UsageError(f"{file.name} cannot be read: {error.strerror}") from error
    manifest = parse_manifest(text)
    name = manifest.endpoint["endpoint_name"]
    present = [row for row in list_endpoints(session.server) if row["endpoint_name"] == name]
    endpoint = present[0] if present else None
    autogroups = list_autogroups(session.server, int(endpoint["id"])) if endpoint else []
    changes = compare_manifest(manifest, endpoint, autogroups, prunes=prune)
    done: Json = {
        "changes": [_as_json(one) for one in changes],
        "applied": bool(changes) and not dry_run,
    }
    if not changes:
        session.show(done, f"{name} is as the file says; nothing to do")
        return
    if not session.wants_json:
        session.console.print(*_diff(changes), sep="\n")
    question = f"Make {count(len(changes), 'change')}?"
    previews = _previews(manifest, changes, endpoint)
    done["costs"] = confirm_cost(session, previews, question, is_sure=yes or dry_run)
    if not dry_run:
        for n_made, change in enumerate(changes):
            try:
                _make(session.server, change)
            except CliError as error:
                made = f"{n_made} of {count(len(changes), 'change')} made, {change.title} not"
                fix = error.fix
                if error.kind == CONFLICT:
                    fix = "run it again: it compares the file with what is now"
                raise CliError(
                    f"{made}: {error.message}", code=error.code, fix=fix, kind=error.kind
                ) from error
    session.show(
        done,
        "Nothing was done (--dry-run)" if dry_run else f"{count(len(changes), 'change')} made",
    )


def _previews(
    manifest: Manifest, changes: Sequence[Change], endpoint: Json | None
) -> Sequence[Json]:
    """What to ask of the cost: of each autogroup that changes, or else of the group."""
    group: Json = {"endpoint": dict(manifest.endpoint)}
    if endpoint is not None:
        group["endpoint_id"] = endpoint["id"]
    found = []
    for change in changes:
        if change.noun == "autogroup" and change.verb != "delete":
            body = {k: v for k, v in change.body.items() if k != "endpoint_name"}
            about = {} if change.identity is None else {"autogroup_id": change.identity}
            found.append({**group, **about, "autogroup": body})
    return found or [group]


def _diff(changes: Sequence[Change]) -> list[Text]:
    lines = []
    for change in changes:
        sign, style = _SIGNS[change.verb]
        lines.append(Text(f"{sign} {change.verb} {clean(change.title)}", style=style))
        for name, before, after in change.fields:
            was = "" if before is None else f"{clean(before)} → "
            lines.append(Text(f"    {name}: {was}{clean(after)}"))
    return lines


def _make(server: Server, change: Change) -> None:
    path = _PATHS[change.noun]
    if change.verb == "create":
        server.post(path, change.body)
    elif change.verb == "update":
        seen = {} if change.revision is None else {"revision": change.revision}
        server.put(f"{path}{change.identity}/", {**change.body, **seen})
    else:
        server.delete(f"{path}{change.identity}/")


def _as_json(change: Change) -> Json:
    fields = {name: {"before": before, "after": after} for name, before, after in change.fields}
    return {"verb": change.verb, "what": change.title, "fields": fields}


COMMANDS = (apply,)
