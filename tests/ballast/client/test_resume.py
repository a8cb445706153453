"""`resume`: a text that breaks off goes on at another worker, whole and told."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from aiohttp import web

from ballast.client.errors import (
    CannotResumeError,
    ModelFailedError,
    StreamBrokenError,
    WaitTimeoutError,
)
from ballast.client.resume import Continuation
from ballast.client.sdk import Client
from ballast.client.sse import event_data
from tests.ballast.client.world import Servers, served, servers

KEY = "blk.e7-r-own.1.secret"
PROMPT = {"prompt": "Count: ", "stream": True, "max_tokens": 9}
ANSWER = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def completion(text: str, reason: str | None = None) -> bytes:
    message = {"choices": [{"index": 0, "text": text, "finish_reason": reason}]}
    return f"data: {json.dumps(message)}\n\n".encode()


class TextWorker:
    """Completes what is missing of the answer; breaks off after so many words, once each."""

    def __init__(self, breaks: list[int]) -> None:
        self.breaks = breaks
        self.payloads: list[dict[str, object]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        payload = (await request.json())["payload"]
        self.payloads.append(payload)
        said = payload["prompt"].removeprefix("Count: ").split()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        stop = self.breaks.pop(0) if self.breaks else None
        for n, word in enumerate(ANSWER[len(said) :]):
            if n == stop:
                await response.write(completion("half of it")[:25])
                request.transport.close()  # type: ignore[union-attr]
                return response
            await response.write(completion(f"{word} "))
        await response.write(completion("", "length") + b"data: [DONE]\n\n")
        return response


@pytest.fixture
def it() -> Iterator[Servers]:
    with servers() as running:
        yield running


def texts(chunks: Iterator[bytes]) -> str:
    messages = [json.loads(data) for data in event_data(chunks) if data != "[DONE]"]
    return "".join(message["choices"][0]["text"] for message in messages)


@pytest.mark.parametrize("breaks", [[], [0], [3], [3, 2], [8], [1, 1, 1]])
def test_a_broken_text_goes_on_elsewhere_and_nothing_is_lost_or_said_twice(
    it: Servers, breaks: list[int]
) -> None:
    worker, n_breaks = TextWorker([*breaks]), len(breaks)
    app = web.Application()
    app.router.add_post("/v1/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url, pause=lambda _: None) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        with client.stream("e", "/v1/completions", PROMPT, resume=True) as answer:
            raw = list(answer.chunks())
        assert texts(iter(raw)) == "one two three four five six seven eight nine "
        assert answer.trace.n_resumed == n_breaks
        assert b"".join(raw).count(b": resumed by another worker after ") == n_breaks
    routes = it.control_plane.routes
    assert all(route["stream"] is True for route in routes)
    assert [route["request_idx"] for route in routes] == [0, *[77] * n_breaks]
    if breaks == [3]:
        assert worker.payloads[1] == {**PROMPT, "prompt": "Count: one two three ", "max_tokens": 6}


class RestlessWorker(TextWorker):
    """Is lost after so many bytes of its answer, anywhere in an event or a letter."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        said = (await request.json())["payload"]["prompt"].removeprefix("Count: ").split("¶")
        words = ANSWER[len(said) - 1 :]
        whole = b"".join(completion(f"{word}¶") for word in words)
        whole += completion("", "length") + b"data: [DONE]\n\n"
        stop = self.breaks.pop(0) if self.breaks else len(whole)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(whole[:stop])
        if stop < len(whole):
            request.transport.close()  # type: ignore[union-attr]
        return response


@pytest.mark.parametrize("n_streams", [20, pytest.param(2_000, marks=pytest.mark.long)])
def test_streams_cut_at_any_byte_come_whole(it: Servers, n_streams: int) -> None:
    """1 in 1,000 streams is cut: if none of 2,000 cut ones is lost, fewer than 1 in 600,000 are."""
    dice, worker, n_cut = random.Random(7), RestlessWorker([]), 0
    app = web.Application()
    app.router.add_post("/v1/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url, pause=lambda _: None) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        for _ in range(n_streams):
            worker.breaks = [dice.randrange(600) for _ in range(dice.choice((1, 1, 1, 2, 3)))]
            with client.stream("e", "/v1/completions", PROMPT, resume=True) as answer:
                assert texts(answer.chunks()).split("¶") == [*ANSWER, ""]
            n_cut += answer.trace.n_resumed > 0
    assert n_cut > 0.8 * n_streams


def test_without_resume_a_broken_text_is_told(it: Servers) -> None:
    worker = TextWorker([2])
    app = web.Application()
    app.router.add_post("/v1/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url, pause=lambda _: None) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        broken = client.stream("e", "/v1/completions", PROMPT)
        with broken, pytest.raises(StreamBrokenError):
            broken.content()


ENGINE_DIED = b"""data: {"error": {"message": "EngineCore encountered an issue.", "code": 500}}

data: [DONE]

"""
"""vLLM 0.32.0, `stream_engine_killed` in tests/evidence/models: its end looks as if all is well."""


class DyingWorker(TextWorker):
    """Its engine dies under the stream after `breaks` words, and it tells so under a 200."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not self.breaks:
            return await super().answer(request)
        payload = (await request.json())["payload"]
        self.payloads.append(payload)
        said = payload["prompt"].removeprefix("Count: ").split()
        words = ANSWER[len(said) :][: self.breaks.pop(0)]
        body = b"".join(completion(f"{word} ") for word in words) + ENGINE_DIED
        return web.Response(body=body, content_type="text/event-stream")


def test_an_engine_that_dies_under_a_stream_is_a_break_and_no_end(it: Servers) -> None:
    worker = DyingWorker([3])
    app = web.Application()
    app.router.add_post("/v1/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url, pause=lambda _: None) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        with client.stream("e", "/v1/completions", PROMPT, resume=True) as answer:
            raw = list(answer.chunks())
    assert texts(iter(raw)) == "one two three four five six seven eight nine "
    assert b"error" not in b"".join(raw)
    assert answer.trace.n_resumed == 1


def test_two_model_servers_that_fail_alike_are_the_answer(it: Servers) -> None:
    worker = DyingWorker([1, 1, 1])
    app = web.Application()
    app.router.add_post("/v1/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url, pause=lambda _: None) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        failing = client.stream("e", "/v1/completions", PROMPT, resume=True)
        with failing, pytest.raises(ModelFailedError, match="EngineCore"):
            failing.content()
    assert len(worker.payloads) == 2


def test_nobody_goes_on_for_ever(it: Servers) -> None:
    worker = TextWorker([0] * 10_000)
    app = web.Application()
    app.router.add_post("/v1/completions", worker.answer)
    with served(app) as url, Client(KEY, it.control_plane_url) as client:
        it.control_plane.next_grant = lambda body: {**it.grant(body), "url": url}
        broken = client.stream("e", "/v1/completions", PROMPT, resume=True, timeout_s=2.0)
        with broken, pytest.raises(WaitTimeoutError):
            broken.content()


def test_workers_that_are_not_taken_away_are_asked_for(it: Servers) -> None:
    with Client(KEY, it.control_plane_url) as client:
        client.request("e", "/generate", {"inputs": "x"}, interruptible=False).close()
        client.request("e", "/generate", {"inputs": "x"}).close()
    assert it.control_plane.routes[0]["interruptible"] is False
    assert "interruptible" not in it.control_plane.routes[1]


@pytest.mark.parametrize(
    ("route", "payload", "resume", "words"),
    [
        ("/v1/completions", {**PROMPT, "prompt": ["a", "b"]}, True, "prompt"),
        ("/v1/completions", {**PROMPT, "stream": False}, True, "stream"),
        ("/v1/completions", {**PROMPT, "n": 2}, True, "n: "),
        ("/v1/completions", {**PROMPT, "response_format": {"type": "json"}}, True, "response_"),
        ("/v1/chat/completions", {"messages": [{}], "stream": True}, True, "continue_final"),
        ("/v1/chat/completions", {"stream": True}, "continue_final_message", "messages"),
        ("/generate_image", {"prompt": "x"}, True, "only streams of text"),
        ("/v1/completions", {**PROMPT, "logprobs": 0}, True, "logprobs"),
        ("/v1/completions", {**PROMPT, "structured_outputs": {"regex": "a"}}, True, "structured"),
        ("/v1/completions", {**PROMPT, "guided_json": None, "guided_grammar": "a"}, True, "_gram"),
        ("/v1/completions", {**PROMPT, "best_of": 2}, True, "best_of"),
        ("/v1/completions", PROMPT, "yes", "resume: 'yes'; allowed"),
        (
            "/v1/completions",
            {**PROMPT, "stream_options": {"include_usage": True}},
            True,
            "stream_options: .*include_usage",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user"}], "stream": True, "tools": [{}]},
            "continue_final_message",
            "tools",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "assistant"}], "stream": True},
            "continue_final_message",
            "assistant's already",
        ),
        ("/generate_stream", {"inputs": "a", "parameters": {"details": True}}, True, "details"),
        ("/generate_stream", {"inputs": "a", "parameters": {"best_of": 2}}, True, "best_of"),
    ],
)
def test_what_could_not_be_continued_is_refused_before_anything_is_sent(
    it: Servers, route: str, payload: dict[str, object], resume: bool, words: str
) -> None:
    client = Client(KEY, it.control_plane_url)
    with client, pytest.raises(CannotResumeError, match=words):
        client.stream("e", route, payload, resume=resume)
    assert it.control_plane.routes == []


def test_a_chat_goes_on_in_the_last_message_where_the_server_can() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    payload = {"messages": messages, "stream": True, "max_completion_tokens": 10}
    it = Continuation("/v1/chat/completions", payload, "continue_final_message")
    for word in ("Hel", "lo"):
        it.take(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % word.encode())
    assert it.payload() == {
        "messages": [*messages, {"role": "assistant", "content": "Hello"}],
        "stream": True,
        "max_completion_tokens": 8,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    fresh = Continuation("/v1/chat/completions", payload, "continue_final_message")
    assert fresh.payload() == payload


def test_generated_text_of_tgi_goes_on_too() -> None:
    it = Continuation(
        "/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 5}}, True
    )
    first = it.take(b'data:{"token": {"text": " b", "special": false}}\n\ndata:{"tok')
    assert first.endswith(b"false}}\n\n")
    assert it.payload() == {"inputs": "a b", "parameters": {"max_new_tokens": 4}}
    assert not it.is_over
    it.began_again()
    it.take(b'data:{"token": {"text": "!"}, "generated_text": " b!"}\n\n')
    assert it.is_over


@pytest.mark.parametrize(
    "harmless",
    [
        {"best_of": 1},
        {"logprobs": None},
        {"tools": []},
        {"n": 1},
        {"response_format": {"type": "text"}},
        {"stream_options": {"include_usage": False}},
        {"guided_json": None},
    ],
)
def test_what_asks_for_nothing_is_no_reason_to_refuse(harmless: dict[str, object]) -> None:
    assert Continuation("/v1/completions", {**PROMPT, **harmless}, True).payload()


def test_as_much_less_is_asked_for_at_least_and_at_most() -> None:
    """A server as vLLM refuses `min_tokens` above `max_tokens`."""
    it = Continuation("/v1/completions", {**PROMPT, "min_tokens": 5}, True)
    for word in ANSWER[:7]:
        it.take(completion(f"{word} "))
    assert (it.payload()["min_tokens"], it.payload()["max_tokens"]) == (0, 2)


def test_the_last_event_of_a_generated_text_tells_all_of_it() -> None:
    it = Continuation("/generate_stream", {"inputs": "a"}, True)
    it.take(b'data:{"token": {"text": " b"}, "generated_text": null}\n\n')
    it.began_again()
    it.take(b'data:{"token": {"text": " c"}, "generated_text": null}\n\n')
    end = it.take(b'data:{"token": {"text": "!"}, "generated_text": " c!"}\n\n')
    assert json.loads(end.removeprefix(b"data:"))["generated_text"] == " b c!"
    assert it.is_over
