"""The transport: sends once, follows nothing, names errors without their contents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.adapters.vast.http import NoAnswerError, VastRequest, send_over_http
from fakes.local_http import QuietHandler, serving

SEEN: list[tuple[str, str, str | None, bytes]] = []


class Handler(QuietHandler):
    """Remembers requests; answers by path."""

    def answer(self) -> None:
        SEEN.append((self.command, self.path, self.headers.get("Authorization"), self.read()))
        if self.path.startswith("/cut"):
            self.close_connection = True
            return
        self.reply(302 if self.path.startswith("/away") else 201, b"ok", Location="/elsewhere")


@pytest.fixture
def url() -> Iterator[str]:
    SEEN.clear()
    with serving(Handler) as address:
        yield f"http://{address}"


def test_a_request_carries_key_parameters_and_body(url: str) -> None:
    request = VastRequest(
        method="PUT", url=f"{url}/x/", api_key="k", params={"a": "b c"}, body={"n": 1}
    )
    answer = send_over_http(request)
    assert (answer.status, answer.text) == (201, "ok")
    assert SEEN == [("PUT", "/x/?a=b+c", "Bearer k", b'{"n": 1}')]


def test_no_redirect_takes_the_key_away(url: str) -> None:
    answer = send_over_http(VastRequest(method="PUT", url=f"{url}/away", api_key="k"))
    assert answer.status == 302
    assert len(SEEN) == 1


def test_without_a_key_no_header_is_sent(url: str) -> None:
    send_over_http(VastRequest(method="PUT", url=f"{url}/x", api_key=""))
    assert SEEN[0][2] is None


def test_a_cut_connection_is_no_answer_and_is_not_tried_again(url: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        send_over_http(VastRequest(method="PUT", url=f"{url}/cut", api_key="key-canary"))
    assert len(SEEN) == 1
    assert str(caught.value) == "PUT: ConnectionError"
    assert caught.value.__cause__ is None
