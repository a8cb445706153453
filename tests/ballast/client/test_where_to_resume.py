"""Where a broken text goes on: what other workers answer then, and which servers can."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from aiohttp import web

from ballast.client.errors import CannotResumeError, StreamBrokenError
from ballast.client.sdk import Client
from chalicelib.wire.model_answers import MODEL_SERVER
from tests.ballast.client.world import Servers, served, servers

KEY = "blk.e7-r-own.1.secret"


@pytest.fixture
def it() -> Iterator[Servers]:
    with servers() as running:
        yield running


class OddWorker:
    """Sends its answers in turn: (status, content type, body, whether it then breaks off)."""

    def __init__(self, *answers: tuple[int, str, bytes, bool], server: str = "vllm") -> None:
        self.answers = [*answers]
        self.server = server  # as its PyWorker learned of it; several: of one answer after another
        self.n_asked = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.n_asked += 1
        status, kind, body, breaks = self.answers.pop(0)
        server, _, after = self.server.partition(",")
        self.server = after or server
        headers = {"Content-Type": kind, **({MODEL_SERVER: server} if server != "-" else {})}
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(body)
        if breaks:
            request.transport.close()  # type: ignore[union-attr]
        return response


EVENTS, JSON = "text/event-stream; charset=utf-8", "application/json"
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}


def delta(**members: object) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': members}]})}\n\n".encode()


def played(
    it: Servers, *answers: tuple[int, str, bytes, bool], server: str = "vllm"
) -> tuple[bytes, OddWorker]:
    """What a reader of a chat that may be resumed gets of these answers."""
    worker, app = OddWorker(*answers, server=server), web.Application()
    app.router.add_post("/v1/chat/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url, pause=lambda _: None) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        with client.stream(
            "e", "/v1/chat/completions", CHAT, resume="continue_final_message"
        ) as answer:
            return b"".join(answer.chunks()), worker


BEGUN = (200, EVENTS, delta(role="assistant", content="Hel"), True)


@pytest.mark.parametrize(
    "body", [b'{"choices": [{"message": {"content": "Hi"}}]}', b"", b'{"a": 1}\n\n{"b": 2}\n\n']
)
def test_a_server_that_does_not_stream_is_asked_once(it: Servers, body: bytes) -> None:
    answer, worker = played(it, (200, JSON, body, False))
    assert (answer, worker.n_asked) == (body, 1)


def test_events_of_another_form_are_passed_and_asked_for_once(it: Servers) -> None:
    body = b'data: {"type": "text", "said": "Hi"}\n\ndata: {"type": "end"}\n\n'
    answer, worker = played(it, (200, EVENTS, body, False))
    assert (answer, worker.n_asked) == (body, 1)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(200, JSON, b'{"choices": ', True)], "broke off"),
        ([(200, EVENTS, b'data: {"said": "Hi"}\n\n', True)], "no text that is known"),
        ([(200, EVENTS, delta(reasoning_content="Hm"), True)], "delta.reasoning_content"),
        ([(200, EVENTS, delta(reasoning="Hm") + delta(content="Hi"), False)], "delta.reasoning"),
        ([(200, EVENTS, delta(tool_calls=[{"index": 0}]), True)], "delta.tool_calls"),
        ([BEGUN, (200, JSON, b"{}", False)], "it answers with application/json"),
        ([BEGUN, (400, JSON, b'{"error": "continue_final_message"}', False)], "could not go on"),
    ],
)
def test_what_cannot_go_on_is_told_and_never_said_twice(
    it: Servers, answers: list[tuple[int, str, bytes, bool]], words: str
) -> None:
    with pytest.raises(StreamBrokenError, match=words):
        played(it, *answers)


REST = (200, EVENTS, delta(content="lo") + b"data: [DONE]\n\n", False)


@pytest.mark.parametrize("server", ["vllm", "sglang", "vllm,sglang"])
def test_a_chat_goes_on_where_the_worker_knows_that_its_server_can(
    it: Servers, server: str
) -> None:
    answer, worker = played(it, BEGUN, REST, server=server)
    assert b"resumed by another worker after 3" in answer
    assert worker.n_asked == 2


@pytest.mark.parametrize("server", ["llamacpp", "library", "-"])
def test_resume_of_a_chat_is_refused_at_the_start_where_no_one_knows_that_it_goes_on(
    it: Servers, server: str
) -> None:
    """A server ignores `continue_final_message` if it does not know it, and would begin anew."""
    with pytest.raises(CannotResumeError, match="continue_final_message: sglang, vllm"):
        played(it, BEGUN, server=server)


def test_a_chat_does_not_go_on_at_a_server_that_would_begin_anew(it: Servers) -> None:
    with pytest.raises(StreamBrokenError, match="its model server is llamacpp"):
        played(it, BEGUN, REST, server="vllm,llamacpp")
