"""The proxy as a service: callers with limits, readiness, metrics, its end, its container."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ballast.proxy.__main__ import make_parser
from ballast.proxy.callers import Caller, CallersError, Limits, OverLimitError, read_callers
from ballast.proxy.metrics import Metrics
from ballast.proxy.server import ProxySettings, make_application
from ballast.proxy.service import CallersFile, Service
from lab.local.processes.children import listen, url_of
from tests.ballast.client.world import Servers, served, servers, wait_until

ROOT = Path(__file__).parents[3]
SHOP, LAB = "sk-shop-0123456789abcdef", "sk-lab-0123456789abcdef"
CALLERS = f"""
[shop]
key = "{SHOP}"
endpoints = ["chat"]
max_concurrent = 1

[lab]
key = "{LAB}"
ballast_key = "blk.lab"
"""
BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


def ask(url: str, key: str, group: str = "chat", **more: object) -> requests.Response:
    return requests.post(
        f"{url}/{group}/v1/chat/completions",
        json=BODY,
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
        **more,  # type: ignore[arg-type]
    )


def values(url: str) -> dict[str, float]:
    """The metrics page, read by Prometheus' own parser."""
    page = requests.get(f"{url}/metrics", timeout=30)
    assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        " ".join([one.name, *(v for _, v in sorted(one.labels.items()))]): one.value
        for family in text_string_to_metric_families(page.text)
        for one in family.samples
    }


@contextmanager
def proxy(it: Servers, tmp_path: Path, text: str = CALLERS) -> Iterator[str]:
    path = tmp_path / "callers.toml"
    path.write_text(text)
    settings = ProxySettings(
        url=it.control_plane_url,
        endpoint="chat",
        api_key="blk.own",
        callers=CallersFile(path),
        timeout_s=5,
    )
    with served(make_application(settings, Service(it.control_plane_url))) as url:
        yield url


def test_each_caller_has_its_own_key_groups_and_counts(tmp_path: Path) -> None:
    with servers() as it, proxy(it, tmp_path) as url:
        assert ask(url, SHOP).status_code == 200
        assert ask(url, LAB, "other").status_code == 200
        assert it.control_plane.route_authorizations == ["Bearer blk.own", "Bearer blk.lab"]
        foreign = ask(url, SHOP, "other")
        assert (foreign.status_code, foreign.json()["error"]["message"]) == (
            403,
            "shop may use chat; not this group",
        )
        stranger = ask(url, "sk-nobody-0123456789abcdef", "planted-label")
        assert stranger.status_code == 401
        assert len(it.control_plane.route_authorizations) == 2
        counted = values(url)
    assert counted["ballast_proxy_requests_total shop chat 200"] == 1
    assert counted["ballast_proxy_requests_total lab other 200"] == 1
    assert counted["ballast_proxy_requests_total shop  403"] == 1
    assert counted["ballast_proxy_requests_total   401"] == 1
    assert counted["ballast_proxy_first_byte_seconds_count"] == 2
    assert counted["ballast_proxy_requests_running"] == 0
    assert not any("planted" in name for name in counted)


def test_what_a_group_serves_is_shown_to_its_callers_alone(tmp_path: Path) -> None:
    with servers() as it, proxy(it, tmp_path) as url:
        for path in ("/other/v1/models", "/other/v1/models/other", "/v1/models"):
            statuses = [
                requests.get(url + path, headers=headers, timeout=30).status_code
                for headers in (
                    {},
                    {"Authorization": "Bearer sk-nobody-0123456789abcdef"},
                    {"Authorization": f"Bearer {SHOP}"},
                    {"Authorization": f"Bearer {LAB}"},
                )
            ]
            assert statuses == [401, 401, 403 if "other" in path else 200, 200], path


@pytest.mark.parametrize("key", [b"\xff" * 24, "sk-\u00e9".encode() * 8, b""])
def test_a_key_that_is_no_text_is_none(tmp_path: Path, key: bytes) -> None:
    with servers() as it, proxy(it, tmp_path) as url:
        answer = requests.post(
            f"{url}/chat/v1/chat/completions",
            json=BODY,
            headers={"Authorization": b"Bearer " + key},
            timeout=30,
        )
        assert answer.status_code == 401
        assert it.control_plane.routes == []


def test_without_a_key_no_body_is_read(tmp_path: Path) -> None:
    """A proxy of everybody's own keys: a stranger's megabytes are not parsed."""
    with servers() as it:
        settings = ProxySettings(url=it.control_plane_url, endpoint="chat", timeout_s=5)
        with served(make_application(settings, Service(it.control_plane_url))) as url:
            for data in (b"[" * 2**20, b"not JSON"):
                answer = requests.post(f"{url}/v1/chat/completions", data=data, timeout=30)
                assert answer.status_code == 401, "not 400: it was not looked at"


def test_a_caller_over_its_limit_is_told_when_to_come_again(tmp_path: Path) -> None:
    rated = CALLERS.replace("max_concurrent = 1", "max_requests_per_s = 0.2")
    with servers() as it, proxy(it, tmp_path, rated) as url:
        assert ask(url, SHOP).status_code == 200
        refused = ask(url, SHOP)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 5
        assert refused.json()["error"]["type"] == "rate_limit_exceeded"
        assert ask(url, LAB).status_code == 200  # nobody else's


def begins_at(limits: Limits, caller: Caller, now: float) -> float:
    """When a request that comes now may begin: what `Retry-After` promises holds."""
    try:
        limits.begin(caller, now)
    except OverLimitError as error:
        now += error.retry_after_s + 1e-6
        limits.begin(caller, now)
    return now


@given(
    rate=st.floats(0.1, 50),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_caller_gets_more_than_its_rate_and_one_burst(rate: float, gaps: list[float]) -> None:
    limits, caller = Limits(), Caller(name="c", max_requests_per_s=rate)
    now, n_begun = 0.0, 0
    for gap in gaps:
        now += gap
        now = begins_at(limits, caller, now)
        n_begun += 1
    assert n_begun <= rate * now + max(1.0, 2 * rate) + 1e-3


def test_what_runs_at_once_is_counted_down_when_it_ends() -> None:
    limits, caller = Limits(), Caller(name="c", max_concurrent=2)
    limits.begin(caller, 0.0)
    limits.begin(caller, 0.0)
    with pytest.raises(OverLimitError, match="2 requests under way"):
        limits.begin(caller, 0.0)
    limits.end(caller)
    limits.begin(caller, 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no caller"),
        ("[a", "not TOML"),
        ("a = 1", "a caller is a table"),
        ('[a]\nkey = "short"', "20 letters"),
        (f'[a]\nkey = "{SHOP}"\nlimit = 1', "limit: unknown; there are key"),
        (f'[a]\nkey = "{SHOP}"\nmax_concurrent = 0', "above 0"),
        (f'[a]\nkey = "{SHOP}"\nmax_concurrent = 1.5', "not a whole number"),
        (f'[a]\nkey = "{SHOP}"\nmax_requests_per_s = true', "above 0"),
        (f'[a]\nkey = "{SHOP}"\nendpoints = "chat"', "a list of names"),
        (f'[a]\nkey = "{SHOP}"\n[b]\nkey = "{SHOP}"', "the same key"),
    ],
)
def test_a_file_that_says_nothing_or_too_much_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(CallersError, match=words) as refused:
        read_callers(text)
    assert SHOP not in str(refused.value)


def test_a_key_ends_without_a_restart_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(CALLERS)
    callers = CallersFile(path)
    found = callers.find(SHOP, 0.0)
    assert found
    assert found.name == "shop"
    path.write_text("[a")
    assert callers.find(SHOP, 10.0)
    path.write_text(CALLERS.replace(SHOP, "sk-shop-another-key-since-today"))
    assert callers.find(SHOP, 12.0)  # looked at 2 s ago
    assert callers.find(SHOP, 20.0) is None
    assert callers.find(LAB, 20.0)
    with pytest.raises(CallersError, match="nowhere"):
        CallersFile(tmp_path / "nowhere")


def test_ready_follows_the_control_plane(tmp_path: Path) -> None:
    with servers() as it, proxy(it, tmp_path) as url:
        assert requests.get(f"{url}/health", timeout=30).status_code == 200
        ready = requests.get(f"{url}/ready", timeout=30)
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    settings = ProxySettings(url="http://127.0.0.1:9", endpoint="chat", api_key="blk.own")
    with served(make_application(settings)) as url:
        answer = requests.get(f"{url}/ready", timeout=30)
        assert answer.status_code == 503
        assert "control plane does not answer" in answer.json()["reason"]
        assert values(url)["ballast_proxy_ready"] == 0
        assert requests.get(f"{url}/health", timeout=30).status_code == 200


def test_at_sigterm_it_turns_away_first_and_finishes_what_is_under_way() -> None:
    with servers() as it, listen() as free:
        it.worker.stall_s = 3.0
        url = url_of(free)
        port = free.getsockname()[1]
        free.close()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ballast.proxy", "-u", it.control_plane_url),
                *("-k", "blk.own", "--port", str(port), "--drain", "1", "--grace", "30"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert "answers at" in process.stdout.readline()
        answer = ask(url, "-", stream=True)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: requests.get(f"{url}/ready", timeout=30).status_code == 503, "it drains")
        assert ask(url, "-", stream=True).status_code == 200  # still taken
        assert answer.content
        assert process.wait(30) == 0
        process.stdout.close()


def test_the_metrics_escape_what_a_name_may_hold() -> None:
    metrics = Metrics()
    metrics.begin()
    metrics.end('a"b\\c\n', "e", 200)
    (sample,) = [
        one
        for family in text_string_to_metric_families(metrics.text(is_ready=True))
        for one in family.samples
        if one.name == "ballast_proxy_requests_total"
    ]
    assert sample.labels == {"caller": 'a"b\\c\n', "endpoint": "e", "status": "200"}


def test_the_container_file_builds_from_what_is_here_and_starts_the_proxy() -> None:
    text = (ROOT / "ballast/proxy/Containerfile").read_text()
    assert re.search(r"^FROM \S+:\d+\.\d+\.\d+\S*$", text, re.M)  # one build, not a moving tag
    for line in re.findall(r"^COPY (.+) \S+$", text, re.M):
        for source in line.split():
            assert (ROOT / source).exists(), source
    assert re.search(r"^USER [1-9]\d*$", text, re.M)
    (entry,) = re.findall(r'^ENTRYPOINT \["python", "-m", "ballast.proxy", (.+)\]$', text, re.M)
    words = [word.strip().strip('"') for word in entry.split(",")]
    assert make_parser().parse_args(words).host == "0.0.0.0"
