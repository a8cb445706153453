"""Scopes: what an event, a minute or a trouble is about, as text."""

from __future__ import annotations

ACCOUNT_SCOPE = "account"


def endpoint_scope(endpoint_id: int | str) -> str:
    """The scope of an endpoint group."""
    return f"endpoint:{endpoint_id}"


def autogroup_scope(autogroup_id: int | str) -> str:
    """The scope of an autogroup."""
    return f"autogroup:{autogroup_id}"
