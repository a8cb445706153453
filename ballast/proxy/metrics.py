"""What a proxy counts, in Prometheus' text format (version 0.0.4).

Names of groups and callers come from answers and from the owner's file alone, never from a request:
a stranger cannot make labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
UNKNOWN = ""


class Metrics:
    """Counters of one process since its start."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._broken = 0
        self._n_running = 0
        self._buckets: Counter[float] = Counter()
        self._waits_s = 0.0
        self._n_waits = 0

    def begin(self) -> None:
        """A request came."""
        self._n_running += 1

    def end(self, caller: str, endpoint: str, status: int) -> None:
        """It was answered, or is no more wanted; UNKNOWN where nothing vouches for a name."""
        self._n_running -= 1
        self._requests[caller, endpoint, str(status)] += 1

    def first_byte(self, wait_s: float) -> None:
        """How long a caller waited until a worker began to answer."""
        self._n_waits += 1
        self._waits_s += wait_s
        for bound in BUCKETS_S:
            if wait_s <= bound:
                self._buckets[bound] += 1

    def broke(self) -> None:
        """An answer ended before it was whole."""
        self._broken += 1

    @property
    def n_running(self) -> int:
        """Requests under way."""
        return self._n_running

    def text(self, *, is_ready: bool) -> str:
        """The page."""
        return "\n".join([*self._lines(is_ready), ""])

    def _lines(self, is_ready: bool) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered, by HTTP status.")
        for (caller, endpoint, status), n in sorted(self._requests.items()):
            labels = f'caller="{_plain(caller)}",endpoint="{_plain(endpoint)}",status="{status}"'
            yield f"ballast_proxy_requests_total{{{labels}}} {n}"
        yield from _head("requests_running", "gauge", "Requests under way.")
        yield f"ballast_proxy_requests_running {self._n_running}"
        yield from _head("answers_broken_total", "counter", "Answers that ended early.")
        yield f"ballast_proxy_answers_broken_total {self._broken}"
        yield from _head("first_byte_seconds", "histogram", "From the request to a first byte.")
        for bound in BUCKETS_S:
            labels = f'{{le="{bound:g}"}}'
            yield f"ballast_proxy_first_byte_seconds_bucket{labels} {self._buckets[bound]}"
        yield f'ballast_proxy_first_byte_seconds_bucket{{le="+Inf"}} {self._n_waits}'
        yield f"ballast_proxy_first_byte_seconds_sum {self._waits_s:.6f}"
        yield f"ballast_proxy_first_byte_seconds_count {self._n_waits}"
        yield from _head("ready", "gauge", "Whether /ready says so.")
        yield f"ballast_proxy_ready {int(is_ready)}"


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP ballast_proxy_{name} {words}"
    yield f"# TYPE ballast_proxy_{name} {kind}"


def _plain(text: str) -> str:
    """A label's value, escaped as the format asks."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
