"""What an owner does with a running system, over HTTP: groups, workers, the market's truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.25
TICKET_TIMEOUT_S = 60.0

Value = TypeVar("Value")


class RefusedError(Exception):
    """Ballast answered with an error; the message is its own. `status`: HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Owner:
    """Calls the management API with an account key."""

    url: str
    account_key: str

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call; gives the answer's JSON.

        Raises:
            RefusedError: the answer is not a success.
        """
        answer = requests.request(
            method,
            self.url + path,
            json=body,
            headers={"Authorization": f"Bearer {self.account_key}"},
            timeout=TIMEOUT_S,
        )
        if not answer.ok:
            told = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise RefusedError(told, answer.status_code)
        return answer.json()

    def create_group(self, name: str, **params: Any) -> int:
        """A new endpoint group; gives its id."""
        answer = self.call("POST", "/api/v0/endptjobs/", {"endpoint_name": name, **params})
        return int(answer["result"])

    def create_autogroup(self, name: str, template_hash: str, **params: Any) -> int:
        """A new autogroup of a group; gives its id."""
        body = {"endpoint_name": name, "template_hash": template_hash, **params}
        return int(self.call("POST", "/api/v0/autojobs/", body)["id"])

    def delete_group(self, endpoint_id: int) -> None:
        """Return everything that the group rented, then forget it."""
        self.call("DELETE", f"/api/v0/endptjobs/{endpoint_id}/")

    def groups(self) -> list[dict[str, Any]]:
        """All groups."""
        rows: list[dict[str, Any]] = self.call("GET", "/api/v0/endptjobs/")["results"]
        return rows

    def workers(self, endpoint_id: int) -> list[dict[str, Any]]:
        """The workers of a group, as the vendor's tools see them."""
        rows: list[dict[str, Any]] = self.call(
            "POST", "/get_endpoint_workers/", {"id": endpoint_id}
        )
        return rows

    def ticket(self, name: str, cost: float, timeout_s: float = TICKET_TIMEOUT_S) -> dict[str, Any]:
        """A ticket of `/route/`, asked for until it is granted, as clients do.

        Routers know a worker at most a second after it became ready.

        Raises:
            NotYetError: not in time.
        """
        body = {"endpoint": name, "api_key": self.account_key, "cost": cost}
        reply: dict[str, Any] = {}

        def is_granted() -> bool:
            nonlocal reply
            reply = self.call("POST", "/route/", body)
            return "url" in reply

        wait_until("a ticket", is_granted, timeout_s, shown=lambda: reply)
        return reply

    def ready_workers(self, endpoint_id: int) -> list[dict[str, Any]]:
        """Those that take requests."""
        return [row for row in self.workers(endpoint_id) if row["status"] == "idle"]


@dataclass(frozen=True, slots=True)
class MarketView:
    """What the market itself knows: its instances, its bill, its faults."""

    market_url: str

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call of the market's control routes."""
        answer = requests.request(method, self.market_url + path, json=body, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def instances(self, group: str = "") -> Sequence[dict[str, Any]]:
        """Every instance that somebody pays for, or those of one group."""
        rows: Sequence[dict[str, Any]] = self.call("GET", "/_market/instances")["instances"]
        return [row for row in rows if not group or str(row["label"]).startswith(f"{group} - ")]

    def bill(self) -> dict[str, Any]:
        """What was spent so far."""
        bill: dict[str, Any] = self.call("GET", "/_market/bill")
        return bill

    def set_fault(self, name: str, *, on: bool = True, **options: Any) -> None:
        """Switch a named fault."""
        self.call("POST", "/_market/faults", {"fault": name, "on": on, **options})


class NotYetError(AssertionError):
    """Something did not happen in time; the message says what and how things stand."""


def patiently(call: Callable[[], Value], timeout_s: float) -> Value:
    """What a call gives, tried again while a busy machine lets it time out; the last error else.

    Only for calls that may be made twice.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except (RefusedError, requests.RequestException) as error:
            is_refused = isinstance(error, RefusedError) and error.status < 500
            if is_refused or time.monotonic() > end:
                raise
        time.sleep(POLL_INTERVAL_S)


def wait_until(
    what: str, look: Callable[[], Value], timeout_s: float, *, shown: Callable[[], object] = str
) -> Value:
    """Look again and again until there is something true, and give it.

    Raises:
        NotYetError: not in time.
    """
    end = time.monotonic() + timeout_s
    while not (value := look()):
        if time.monotonic() > end:
            raise NotYetError(f"not within {timeout_s:g} s: {what}; {shown()}")
        time.sleep(POLL_INTERVAL_S)
    return value
