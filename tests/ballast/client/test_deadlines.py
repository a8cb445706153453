"""Every call of the SDK, the proxy and the CLI ends in time, also where its answer drips."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from ballast.bounded import ask, bounded_session
from ballast.cli.errors import CliError
from ballast.cli.remote.server import Server
from ballast.client.async_sdk import AsyncClient
from ballast.client.errors import CallError, StreamBrokenError, WaitTimeoutError
from ballast.client.sdk import Client
from ballast.proxy.server import ProxySettings, make_application
from tests.adapters.dripping import DRIPS, DRIPS_BY_NAME, OK, certified, dripping
from tests.ballast.client.world import served, servers

TIMEOUT_S = 1.0
PATIENCE_S = 8.0  # below any time-out of theirs, and far below what the servers would take
ERROR = b"HTTP/1.1 500 E\r\ncontent-length: 9999\r\n\r\n"
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@contextmanager
def in_time() -> Iterator[None]:
    began_at = time.monotonic()
    yield
    assert time.monotonic() - began_at < PATIENCE_S


@pytest.mark.parametrize(("begin", "drip"), DRIPS, ids=DRIPS_BY_NAME)
def test_whatever_drips_a_time_out_is_the_whole_answers(begin: bytes, drip: bytes) -> None:
    with dripping(begin, drip) as url, in_time(), pytest.raises(requests.RequestException):
        ask("GET", url, timeout=0.5)


@pytest.mark.parametrize("name", ["headers", "body", "chunks"])
def test_also_over_tls_and_through_a_proxy(name: str, tmp_path: Path) -> None:
    with (
        dripping(*DRIPS_BY_NAME[name], certified(tmp_path)) as url,
        in_time(),
        pytest.raises(requests.RequestException),
    ):
        ask("GET", url, timeout=0.5, verify=str(tmp_path / "root"))
    with (
        dripping(*DRIPS_BY_NAME[name]) as proxy,
        in_time(),
        pytest.raises(requests.RequestException),
    ):
        ask("GET", "http://ballast.example/", timeout=0.5, proxies={"http": proxy})


def test_what_is_whole_in_time_is_cut_by_nothing_and_its_connection_is_kept() -> None:
    with servers() as it, bounded_session() as session:
        for _ in range(3):
            answer = session.get(f"{it.control_plane_url}/pubkey/", timeout=30)
            assert answer.status_code == 200
        pools = session.get_adapter(it.control_plane_url).poolmanager.pools  # type: ignore[attr-defined]
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118


@pytest.mark.parametrize("name", ["status", "one header", "body", "chunks"])
def test_a_control_plane_that_drips_takes_no_more_than_the_callers_time(name: str) -> None:
    with (
        dripping(*DRIPS_BY_NAME[name]) as url,
        Client("k", url) as client,
        in_time(),
        pytest.raises(CallError, match="does not answer"),
    ):
        client.request("e", "/generate", {}, timeout_s=TIMEOUT_S)


async def test_nor_of_an_asynchronous_callers() -> None:
    with dripping(*DRIPS_BY_NAME["body"]) as url, in_time():
        async with AsyncClient(Client("k", url)) as client:
            with pytest.raises(CallError, match="does not answer"):
                await client.request("e", "/generate", {}, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize(
    ("begin", "drip"),
    [DRIPS_BY_NAME["headers"], (ERROR, b"x")],
    ids=["its head", "its error"],
)
@pytest.mark.parametrize("streams", [False, True])
def test_a_worker_that_drips_is_left_in_the_callers_time(
    begin: bytes, drip: bytes, streams: bool
) -> None:
    with servers() as it, dripping(begin, drip) as url, in_time():
        it.worker_url = url.rstrip("/")
        with Client("k", it.control_plane_url) as client:
            call = client.stream if streams else client.request
            with pytest.raises(WaitTimeoutError):
                call("e", "/generate", {}, timeout_s=TIMEOUT_S)


def test_an_answer_is_whole_in_the_callers_time_and_a_stream_lasts_as_long_as_it_flows() -> None:
    for streams in (False, True):
        with (
            servers() as it,
            dripping(EVENTS, b"1\r\n:\r\n") as url,
            Client("k", it.control_plane_url) as client,
            in_time(),
        ):
            it.worker_url = url.rstrip("/")
            call = client.stream if streams else client.request
            with call("e", "/generate", {}, timeout_s=TIMEOUT_S) as answer:
                chunks = answer.chunks()
                if streams:
                    assert b"".join(next(chunks) for _ in range(20)).count(b":") >= 20
                else:
                    with pytest.raises(StreamBrokenError, match="its time was over"):
                        list(chunks)


@pytest.mark.parametrize("behind", ["a control plane", "a worker's head", "a worker's error"])
def test_the_proxy_answers_in_time_whoever_drips_behind_it(behind: str) -> None:
    begin, drip = (ERROR, b"x") if behind == "a worker's error" else DRIPS_BY_NAME["headers"]
    with servers() as it, dripping(begin, drip) as url:
        it.worker_url = url.rstrip("/")
        control_plane = url if behind == "a control plane" else it.control_plane_url
        settings = ProxySettings(url=control_plane, endpoint="e", timeout_s=TIMEOUT_S)
        with served(make_application(settings)) as proxy, in_time():
            answer = requests.post(
                f"{proxy}/v1/completions",
                json={"prompt": "x"},
                headers={"Authorization": "Bearer k"},
                timeout=30,
            )
            assert answer.status_code in (503, 504)


def test_a_command_ends_in_time() -> None:
    with (
        dripping(*DRIPS_BY_NAME["body"]) as url,
        in_time(),
        pytest.raises(CliError, match="does not answer"),
    ):
        Server(url, "k", timeout_s=0.5).get("/status/")


def test_nothing_for_people_asks_by_a_session_of_requests_own() -> None:
    """Its time-outs are for each read: what drips would hold it for ever."""
    bare = re.compile(r"requests\.(Session|get|post|put|head|delete|patch|request)\(|HTTPAdapter\(")
    found = {
        str(path)
        for path in Path("ballast").rglob("*.py")
        if bare.search(path.read_text()) and path.name != "bounded.py"
    }
    assert found == {"ballast/client/transport.py"}  # which mounts bounded ones alone
    assert "HTTPAdapter" not in Path("ballast/client/transport.py").read_text()
