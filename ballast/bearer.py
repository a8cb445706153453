"""An explicit key for `requests`: a plain header would give way to an entry in ~/.netrc."""

from __future__ import annotations

from collections.abc import Callable

import requests


def nobody(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """An `auth` that sends no key: without one `requests` takes the host's from ~/.netrc."""
    return prepared


def bearer(api_key: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """An `auth` that sends this key, whatever the environment holds for the host."""

    def sign(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        prepared.headers["Authorization"] = f"Bearer {api_key}"
        return prepared

    return sign
