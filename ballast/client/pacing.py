"""When to ask again, and whether to. Pure: chance comes as an argument.

The control plane's own `poll_after_s` wins; without it the pauses are those of the vendor's SDK,
1 s and then at random up to 5 s, which keeps a waiting request at about 0.4 calls a second.
"""

from __future__ import annotations

import random
from http import HTTPStatus

from ballast.client.route_reply import Waiting
from chalicelib.wire.model_answers import FAILED_GENERATION

MAX_PAUSE_S = 5.0
MAX_SERVER_PAUSE_S = 30.0


def pause_while_waiting(waiting: Waiting, n_polls: int, rng: random.Random) -> float:
    """Seconds until `/route/` is asked again; `n_polls` = polls made so far, from 1."""
    if waiting.poll_after_s is not None:
        return min(max(waiting.poll_after_s, 0.05), MAX_SERVER_PAUSE_S)
    if n_polls <= 1:
        return 1.0
    return rng.uniform(0.1, min(2.0 ** min(n_polls, 20), MAX_PAUSE_S))


def pause_after_failure(n_failures: int, rng: random.Random) -> float:
    """Seconds until another worker is tried; the first repeat is quick, as it goes elsewhere."""
    return min(0.1 * 4.0 ** min(n_failures - 1, 10) + rng.uniform(0, 0.1), MAX_PAUSE_S)


def is_worth_retrying(http_status: int) -> bool:
    """Whether another worker may do better."""
    if http_status == HTTPStatus.NOT_IMPLEMENTED:
        return False  # what is served there cannot do it, on any machine
    return http_status >= HTTPStatus.INTERNAL_SERVER_ERROR or http_status in (
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        FAILED_GENERATION,
    )
