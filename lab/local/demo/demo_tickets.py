"""What a worker says to tickets that Ballast did not sign for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from lab.local.system.owner import Owner

N_TOKENS = 64
PAYLOAD = {"inputs": "hello", "parameters": {"max_new_tokens": N_TOKENS}}


def forged_and_replayed(owner: Owner, endpoint: str) -> tuple[int, int, int]:
    """HTTP statuses of a ticket with a forged cost, of the honest one, and of its replay.

    Raises:
        NotYetError: no worker was ready in time.
    """
    honest = owner.ticket(endpoint, cost=N_TOKENS)
    forged = honest | {"cost": 1, "endpoint": "another"}
    return _status(forged), _status(honest), _status(honest)


def _status(ticket: Mapping[str, Any]) -> int:
    body = {"auth_data": ticket, "payload": PAYLOAD}
    return requests.post(f"{ticket['url']}/generate", json=body, timeout=30).status_code
