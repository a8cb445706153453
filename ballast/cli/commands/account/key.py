"""`create|show|update|delete key`: callers' keys. A key is shown once, when it is made."""

from __future__ import annotations

import click

from ballast.cli.lookup import find_endpoint, find_key
from ballast.cli.parameters import DURATION, KEY_FIELDS, field_options, given
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import FittingTable, moment, number, table
from chalicelib.core.words import count

VERBS = ("route", "read", "admin")
expires_in = click.option(
    "--expires-in", "expires_in_s", type=DURATION, help="Lifetime from now, e.g. 30d."
)


@click.command("key")
@click.option("--name", required=True, help="Whose key this is.")
@click.option(
    "--verb",
    "verbs",
    multiple=True,
    type=click.Choice(VERBS),
    default=("route",),
    help="What it may do; repeat for more.",
    show_default=True,
)
@click.option("--endpoint-name", help="Only for this endpoint; otherwise the whole account.")
@expires_in
@field_options(KEY_FIELDS)
@connection_options
@pass_session
def create_key(session: Session, /, verbs: tuple[str, ...], **values: object) -> None:
    """Make a key; it is printed once and stored nowhere.

    \b
    ballast create key --name shop --endpoint_name TGI-Llama3 --max_requests_per_s 20
    """
    body = given(values) | {"verbs": list(verbs)}
    if "endpoint_name" in body:
        endpoint = find_endpoint(session.server, str(body["endpoint_name"]))
        body["endpoint_name"] = endpoint["endpoint_name"]
    answer = session.server.post("/api/v0/keys/", body)
    session.show(
        answer,
        answer["key"],
        "This is the only time it is shown.",
        key_table("", [answer["result"]]),
    )


@click.command("key")
@click.argument("key_id", required=False)
@connection_options
@pass_session
def show_key(session: Session, key_id: str | None) -> None:
    """Show one key or all; never their secret part.

    \b
    ballast show keys
    """
    rows: list[Json] = (
        list(session.server.get("/api/v0/keys/")["results"])
        if key_id is None
        else [find_key(session.server, key_id)]
    )
    session.show(rows, key_table(count(len(rows), "key"), rows))


@click.command("key")
@click.argument("key_id")
@click.option("--rotate", is_flag=True, help="Make a new secret; the old one works on.")
@click.option("--revoke-older", is_flag=True, help="End the overlap: only the newest works.")
@click.option("--confirm", is_flag=True, help="It is held since a restore: let it be used again.")
@expires_in
@field_options(KEY_FIELDS)
@click.option("--unset", multiple=True, help="Limit to remove, such as max_concurrent.")
@connection_options
@pass_session
def update_key(
    session: Session,
    /,
    key_id: str,
    rotate: bool,
    revoke_older: bool,
    confirm: bool,
    unset: tuple[str, ...],
    **values: object,
) -> None:
    """Change a key's limits, or rotate it in two steps, so that nobody is locked out in between.

    \b
    ballast update key KEYID --max_requests_per_s 5 --unset max_concurrent
    ballast update key KEYID --rotate           prints the new secret
    ballast update key KEYID --revoke-older     once everybody uses it
    ballast update key KEYID --confirm          after a restore, once its row is right
    """
    body: Json = given(values)
    if unset:
        body["unset"] = [name.replace("-", "_") for name in unset]
    steps = {"rotate": rotate, "revoke_older": revoke_older, "confirm": confirm}
    if sum(steps.values()) + bool(body) != 1:
        raise click.UsageError(
            "give limits, or --rotate, or --revoke-older, or --confirm; one at a time"
        )
    body = body or {name: True for name, is_given in steps.items() if is_given}
    key_id = find_key(session.server, key_id)["key_id"]
    answer = session.server.put(f"/api/v0/keys/{key_id}/", body)
    secret = [answer["key"], "This is the only time it is shown."] if answer.get("key") else []
    session.show(answer, *secret, key_table("", [answer["result"]]))


@click.command("key")
@click.argument("key_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def delete_key(session: Session, key_id: str, yes: bool) -> None:
    """Revoke a key; it stops working within 30 seconds.

    \b
    ballast delete key KEYID
    """
    key_id = find_key(session.server, key_id)["key_id"]
    session.confirm(f"Revoke {key_id}? Whoever uses it is locked out.", is_sure=yes)
    answer = session.server.delete(f"/api/v0/keys/{key_id}/")
    session.show(answer, f"{key_id} is revoked")


def key_table(title: str, rows: list[Json]) -> FittingTable:
    """Keys, one a line."""
    return table(
        title,
        (
            "key id",
            "?name",
            "verbs",
            "endpoint",
            "?>requests/s",
            "?>concurrent",
            "expires (UTC)",
            "state",
        ),
        [
            (
                row["key_id"],
                row.get("name"),
                " ".join(row.get("verbs", ())),
                row.get("endpoint_name") or "all",
                number(row.get("max_requests_per_s")),
                number(row.get("max_concurrent")),
                moment(row.get("expires_at")),
                _state(row),
            )
            for row in rows
        ],
    )


def _state(row: Json) -> str:
    if row.get("is_revoked"):
        return "revoked"
    return "held: confirm it" if row.get("is_held") else "active"


COMMANDS = {"create": create_key, "show": show_key, "update": update_key, "delete": delete_key}
