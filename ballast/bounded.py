"""`requests` with a deadline for a whole answer: its own time-outs are for each read, not for all.

A server that drips a byte now and then would hold a caller for as long as it likes. With these
connections the `timeout` of a call is its whole answer's, beside the time to connect.
"""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from chalicelib.deadline import with_bounded_answers

MAX_IDLE_CONNECTIONS = 64
MAX_REDIRECTS = 3  # each is an answer with a deadline of its own


class BoundedAdapter(HTTPAdapter):
    """Connections whose answers are whole in time.

    `streams`: only their heads and errors are; what else streams may last, by reads in time.
    """

    def __init__(self, *, streams: bool = False) -> None:
        self._streams = streams
        super().__init__(pool_maxsize=MAX_IDLE_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """The pools of direct connections."""
        super().init_poolmanager(*args, **named)
        self._bound(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """The pools of connections through a proxy, of whatever kind."""
        is_known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **named)
        if not is_known:
            self._bound(manager)
        return manager

    def _bound(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            scheme: with_bounded_answers(pool, streams=self._streams)
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def bounded_session() -> requests.Session:
    """A session whose calls' `timeout` is the whole answer's."""
    session = requests.Session()
    session.max_redirects = MAX_REDIRECTS
    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter())
    return session


def ask(method: str, url: str, *, timeout: float, **options: Any) -> requests.Response:
    """One call over a connection of its own, as `requests.request` makes it, and in time.

    Raises:
        requests.RequestException: no whole answer.
    """
    with bounded_session() as session:
        return session.request(method, url, timeout=timeout, **options)
