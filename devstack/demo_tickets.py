"""What a worker says to tickets that Ballast did not sign for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from client.route_reply import Waiting
from client.sdk import Client
from devstack.owner import NotYetError

N_TOKENS = 64
PAYLOAD = {"inputs": "hello", "parameters": {"max_new_tokens": N_TOKENS}}


def forged_and_replayed(client: Client, endpoint: str) -> tuple[int, int, int]:
    """HTTP statuses of a ticket with a forged cost, of the honest one, and of its replay.

    Raises:
        NotYetError: no worker was ready.
    """
    reply = client.route(endpoint, cost=N_TOKENS)
    if isinstance(reply, Waiting):
        raise NotYetError(f"no worker is ready: {reply.status}")
    honest = dict(reply.auth_data)
    forged = honest | {"cost": 1, "endpoint": "another"}
    return (
        _status(reply.url, forged),
        _status(reply.url, honest),
        _status(reply.url, honest),
    )


def _status(worker_url: str, auth_data: Mapping[str, Any]) -> int:
    body = {"auth_data": auth_data, "payload": PAYLOAD}
    return requests.post(f"{worker_url}/generate", json=body, timeout=30).status_code
