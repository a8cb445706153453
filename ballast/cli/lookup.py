"""From what an owner types, a name or an id, to the row it means."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Final

from ballast.cli.errors import CliError
from ballast.cli.remote.server import Json, Server

MOST_NAMED: Final = 5
LONGEST: Final = 128  # characters of a name


def without_key(row: Json) -> Json:
    """A row that may be shown: without the endpoint's own key."""
    return {name: value for name, value in row.items() if name != "api_key"}


def not_found(what: str, text: str, known: Iterable[str], more: str = "") -> CliError:
    """The refusal of a name that is not there: it says which, and the nearest that are.

    `what`: the noun, such as endpoint. `more`: what else helps.
    """
    typed = text[:LONGEST].casefold()
    names = sorted(
        known, key=lambda name: SequenceMatcher(None, typed, name.casefold()).ratio(), reverse=True
    )
    shown = ", ".join(names[:MOST_NAMED]) or "none yet"
    if len(names) > MOST_NAMED:
        shown += f" and {len(names) - MOST_NAMED} more"
    fix = f"known {what}s: {shown}"
    return CliError(f"there is no {what} {text!r}", fix=f"{fix}; {more}" if more else fix)


def list_endpoints(server: Server) -> list[Json]:
    """All endpoint groups."""
    return list(server.get("/api/v0/endptjobs/")["results"])


def list_autogroups(server: Server, endpoint_id: int | None = None) -> list[Json]:
    """All autogroups, or those of one group."""
    rows = server.get("/api/v0/autojobs/")["results"]
    return [row for row in rows if endpoint_id is None or row["endpoint_id"] == endpoint_id]


def find_endpoint(server: Server, text: str) -> Json:
    """The group with this name, or this id.

    Raises:
        CliError: there is none.
    """
    rows = list_endpoints(server)
    for row in rows:
        if row["endpoint_name"] == text:
            return row
    for row in rows:
        if str(row["id"]) == text:
            return row
    known = [str(row["endpoint_name"]) for row in rows]
    raise not_found("endpoint", text, known, "make one with `ballast create endpoint`")


def find_autogroup(server: Server, text: str, endpoint: Json | None = None) -> Json:
    """The autogroup with this id or template hash, or the newest one of the endpoint of this name.

    `endpoint`: of this group alone.

    Raises:
        CliError: there is none, or the template hash is used by several.
    """
    rows = list_autogroups(server, None if endpoint is None else int(endpoint["id"]))
    for row in rows:
        if str(row["id"]) == text:
            return row
    by_hash = [row for row in rows if row.get("template_hash") == text]
    if len(by_hash) > 1:
        ids = ", ".join(str(row["id"]) for row in by_hash)
        raise CliError(f"several autogroups use template {text}", fix=f"give one of the ids {ids}")
    by_name = [row for row in rows if row.get("endpoint_name") == text]
    found = by_hash or by_name
    if not found:
        raise not_found(
            "autogroup" if endpoint is None else f"{endpoint['endpoint_name']} autogroup",
            text,
            [f"{row['id']} of {row.get('endpoint_name')}" for row in rows],
            "give an id, a template hash, or an endpoint's name for its newest autogroup",
        )
    return max(found, key=lambda row: int(row["id"]))


def find_key(server: Server, text: str) -> Json:
    """The caller's key with this id.

    Raises:
        CliError: there is none.
    """
    return _one_of(server, "/api/v0/keys/", "key_id", "key", text)


def find_receiver(server: Server, text: str) -> Json:
    """The receiver of notices with this name.

    Raises:
        CliError: there is none.
    """
    return _one_of(server, "/api/v0/receivers/", "name", "receiver", text)


def _one_of(server: Server, path: str, field: str, what: str, text: str) -> Json:
    rows: list[Json] = server.get(path)["results"]
    found = next((row for row in rows if str(row[field]) == text), None)
    if found is None:
        raise not_found(what, text, [str(row[field]) for row in rows])
    return found
