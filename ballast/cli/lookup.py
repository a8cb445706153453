"""From what an owner types, a name or an id, to the row it means."""

from __future__ import annotations

from ballast.cli.errors import CliError
from ballast.cli.remote.server import Json, Server


def without_key(row: Json) -> Json:
    """A row that may be shown: without the endpoint's own key."""
    return {name: value for name, value in row.items() if name != "api_key"}


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
        CliError: there is none; the message lists what there is.
    """
    rows = list_endpoints(server)
    for row in rows:
        if row["endpoint_name"] == text:
            return row
    for row in rows:
        if str(row["id"]) == text:
            return row
    known = ", ".join(str(row["endpoint_name"]) for row in rows[:20]) or "none yet"
    raise CliError(
        f"there is no endpoint {text!r}",
        fix=f"known endpoints: {known}; make one with `ballast create endpoint`",
    )


def find_autogroup(server: Server, text: str) -> Json:
    """The autogroup with this id or template hash, or the newest one of the endpoint of this name.

    Raises:
        CliError: there is none, or the template hash is used by several.
    """
    rows = list_autogroups(server)
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
        raise CliError(
            f"there is no autogroup {text!r}",
            fix="`ballast show autogroups` lists them; give an id, a template hash, or the name of "
            "an endpoint for its newest autogroup",
        )
    return max(found, key=lambda row: int(row["id"]))
