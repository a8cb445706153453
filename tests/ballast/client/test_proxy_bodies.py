"""What a caller sends costs the proxy's other callers nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import pytest

from ballast.proxy.reading import BodyError, Prepared, Purpose, Reader, read_body
from chalicelib.wire.json_body import LIGHT_ELEMENTS, MAX_ELEMENTS
from tests.ballast.client.test_proxy_guard import BODY, WorkerScript, proxied

CHAT = Purpose(route="/v1/chat/completions", endpoint="Chat", secret=b"s")
LISTS = b'{"messages":[' + b"[]," * (10 * LIGHT_ELEMENTS) + b"[]]}"


async def test_a_heavy_body_of_anybody_stops_no_others() -> None:
    """57 MB of empty lists took 10 s of the loop, under a key that nobody knew."""
    started = time.perf_counter()
    read_body(LISTS, CHAT)
    alone_s = time.perf_counter() - started
    gaps, reader = [0.0], Reader()
    reading = asyncio.create_task(reader.read(LISTS, CHAT))
    while not reading.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        gaps.append(time.perf_counter() - before)
    reader.close()
    assert (await reading).cost > 0
    assert max(gaps) < alone_s / 2


async def test_more_elements_than_a_worker_takes_are_refused_unread() -> None:
    async with proxied(WorkerScript()) as it:
        body = b'{"messages":[' + b"[]," * MAX_ELEMENTS + b"[]]}"
        status, answer = await it.post(body=body)
        assert (status, "2,000,000 elements" in str(answer["error"])) == (413, True)
        assert it.worker.payloads == []


async def test_a_large_body_comes_to_its_worker_as_it_was_sent() -> None:
    sent = {**BODY, "model": "tiny", "extra": [[n, f"é{n}"] for n in range(LIGHT_ELEMENTS)]}
    async with proxied(WorkerScript()) as it:
        status, _ = await it.post(body=json.dumps(sent).encode())
        assert (status, it.worker.payloads) == (200, [sent])
        status, answer = await it.post(body=b'{"a": [' + b"1," * 30_000)
        assert (status, "not JSON" in str(answer["error"])) == (400, True)


NO_REQUESTS = (
    *(b"", b"[]", b"nul", b"[" * 9_000, b'{"a":' * 300 + b"1"),
    *(b'{"temperature": NaN}', b'{"a": [-Infinity]}', b'{"top_p": 1e999}'),  # no JSON when sent on
    b'{"seed": ' + b"9" * 309 + b"}",  # 1 MB of longer ones took 0.2 s of the loop
)


@pytest.mark.parametrize("body", NO_REQUESTS)
async def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError) as error:
        await Reader().read(body, CHAT)
    assert error.value.status == 400


def test_both_ways_of_reading_give_the_same() -> None:
    body = json.dumps({"model": "any", "messages": [], "max_tokens": 7}).encode()
    light = asyncio.run(Reader().read(body, CHAT))
    assert light == read_body(body, CHAT)
    assert isinstance(light, Prepared)
    assert (json.loads(light.data), light.cost) == ({"messages": [], "max_tokens": 7}, 7.0)


PART = 'Content-Disposition: form-data; name="a"\r\n'
BAD_FORMS = {
    "no boundary": "x" * 70_000,
    "no name": "--x\r\n\r\nabc\r\n--x--\r\n",
    "cut": f"--x\r\n{PART}\r\nab",
    "an unknown charset": f"--x\r\n{PART}Content-Type: text/a; charset=q\r\n\r\na\r\n--x--\r\n",
    "an unknown encoding": f"--x\r\n{PART}Content-Transfer-Encoding: q\r\n\r\na\r\n--x--\r\n",
    "a form inside": "--x\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n--x--\r\n",
}


@pytest.mark.parametrize("how", BAD_FORMS)
async def test_a_form_that_is_none_is_refused_in_words(how: str) -> None:
    """Each was a 500 in plain text, with a traceback in the log."""
    async with proxied(WorkerScript()) as it:
        typed = {"Content-Type": "multipart/form-data; boundary=x"}
        sent = BAD_FORMS[how].encode()
        status, answer = await it.post("/v1/audio/transcriptions", sent, **typed)
        assert (status, "the form cannot be read" in str(answer["error"])) == (400, True)
        assert it.worker.payloads == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_nothing_is_inflated_for_anybody(encoding: str) -> None:
    """Six bodies of 61 kB took 1.2 GB, and /health waited 17 s, under a key that nobody knew.

    Inflated as they came, the broken ones among these would end the connection without a word.
    """
    async with proxied(WorkerScript()) as it:
        for sent in (gzip.compress(json.dumps(BODY).encode()), b"{}"):
            status, answer = await it.post(body=sent, **{"Content-Encoding": encoding})
            assert (status, "Content-Encoding" in str(answer["error"])) == (415, True)
        assert it.worker.payloads == []
