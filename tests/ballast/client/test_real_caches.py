"""Real llama.cpp behind two workers: its own counters tell what affinity keeps in its caches.

The product's router chooses, the SDK and the proxy ask. What a server found in its cache it tells
in each answer's `usage.prompt_tokens_details.cached_tokens`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import openai
import pytest

from ballast.client.sdk import Client
from ballast.proxy.server import ProxySettings, make_application
from chalicelib.services.keys import endpoint_key
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import route
from chalicelib.wire.routing import RouteRequest
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, HotWorld
from fakes.control_plane_server import ControlPlaneServer
from tests.ballast.client.world import real_worker, served
from tests.services.router import make_world, see
from tests.workers.world import World, free_port
from workers.openai.server import BACK_END

CHAT = "/v1/chat/completions"
SYSTEM = "You keep the log of a ship."
OPENINGS = tuple(
    f"{question} {detail * 8}"
    for question, detail in (
        ("Where are we bound?", "We left the harbour of Lisbon in May with a northern wind. "),
        ("Who is the cook?", "The soup of last night was full of pepper and of old onions. "),
        ("What is the cargo?", "There are forty barrels below, and nobody has opened any yet. "),
        ("How is the wind?", "The sails hang down, and the sea has been like glass all day. "),
    )
)
N_TURNS = 3
Ask = Callable[[list[dict[str, str]]], tuple[str, int]]  # messages: (answer, tokens from the cache)


@contextmanager
def llama(directory: Path) -> Iterator[tuple[str, Path]]:
    """A model server's address, and its log."""
    port, log = free_port(), directory / "model.log"
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "lab.local.model.llama_server", "--port", str(port)),
            *("--threads", "1", "--slots", "4", "--log", str(log)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}", log
    finally:
        server.kill()
        server.wait()


@dataclass
class Fleet:
    """Two real workers, and a control plane in which the product's router chooses between them."""

    workers: list[World]
    is_keyed: bool = True  # else clients' keys are dropped, as from clients that send none

    def __post_init__(self) -> None:
        self.router, self.hot = RouterMemory(), make_world()
        self.asked: list[dict[str, object]] = []

    def grant(self, body: dict[str, object]) -> dict[str, object]:
        """The ticket of the worker that the product chooses; all were idle before."""
        self.asked.append(body)
        rest(self.hot, len(self.workers))
        key = endpoint_key(self.hot.secrets, ENDPOINT_ID, 1)
        dropped = () if self.is_keyed else ("affinity", "prefix_cost")
        kept = {name: value for name, value in body.items() if name not in dropped}
        reply = route(
            self.hot.ports(), self.router, RouteRequest.from_json(json.dumps(kept), header_key=key)
        )
        number = int(str(reply["url"]).rpartition(":")[2]) - 20_000
        return self.workers[number - 1].ticket(cost=body["cost"], endpoint=body["endpoint"])


def rest(world: HotWorld, n_workers: int) -> None:
    """All was served, and every worker has said so."""
    world.clock.advance(30.0)
    for number in range(1, n_workers + 1):
        world.add_worker(number, url=f"http://worker:{20_000 + number}")
    see(world)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    quick = replace(
        BACK_END,
        benchmark=replace(
            BACK_END.benchmark,
            n_rounds=1,
            concurrency=1,
            max_concurrency=1,
            make_payload=lambda rng, _model: {"prompt": f"Number {rng.random()}", "max_tokens": 4},
        ),
    )
    with ExitStack() as stack:
        workers = []
        for number in (1, 2):
            directory = tmp_path_factory.mktemp(f"worker{number}")
            url, log = stack.enter_context(llama(directory))
            worker, _ = stack.enter_context(
                real_worker(
                    directory,
                    quick,
                    ready_within_s=85,
                    MODEL_SERVER_URL=url,
                    MODEL_LOG=str(log),
                )
            )
            workers.append(worker)
        both = Fleet(workers)
        control_plane = ControlPlaneServer()
        control_plane.next_grant = both.grant
        yield both, stack.enter_context(served(control_plane.application()))


def cached_tokens(ask: Ask, ship: str) -> int:
    """Of some conversations that go on in turn, all together; another ship has nothing cached."""
    total = 0
    talks = [
        [{"role": "system", "content": f"{ship}: {SYSTEM}"}, {"role": "user", "content": opening}]
        for opening in OPENINGS
    ]
    for _ in range(N_TURNS):
        for talk in talks:
            answer, cached = ask(talk)
            total += cached
            talk += [
                {"role": "assistant", "content": answer or "Aye."},
                {"role": "user", "content": "Tell me more about that, and why it is so."},
            ]
    return total


@pytest.mark.long
def test_caches_are_found_through_the_sdk(fleet: tuple[Fleet, str]) -> None:
    both, url = fleet
    with Client("blk.caller", url) as client:

        def ask(messages: list[dict[str, str]]) -> tuple[str, int]:
            payload = {"messages": messages, "max_tokens": 8, "temperature": 0}
            with client.request(ENDPOINT_NAME, CHAT, payload, cost=8) as answer:
                body = answer.json()
            assert isinstance(body, dict)
            details = body["usage"]["prompt_tokens_details"]
            return body["choices"][0]["message"]["content"], details["cached_tokens"]

        compare(both, ask, "first voyage")


@pytest.mark.long
def test_caches_are_found_through_the_proxy(fleet: tuple[Fleet, str]) -> None:
    both, url = fleet
    settings = ProxySettings(url=url, endpoint=ENDPOINT_NAME, api_key="blk.caller")
    with (
        served(make_application(settings)) as proxy_url,
        openai.OpenAI(base_url=f"{proxy_url}/v1", api_key="-", max_retries=0) as client,
    ):

        def ask(messages: list[dict[str, str]]) -> tuple[str, int]:
            answer = client.chat.completions.create(
                model="any",
                messages=messages,
                max_tokens=8,
                temperature=0,
            )
            details = answer.usage.prompt_tokens_details if answer.usage else None
            assert details is not None
            return answer.choices[0].message.content or "", details.cached_tokens or 0

        compare(both, ask, "second voyage")


def compare(fleet: Fleet, ask: Ask, name: str) -> None:
    """Without keys, then with them: the same conversations aboard ships of their own."""
    fleet.is_keyed, fleet.asked = False, []
    without = cached_tokens(ask, f"Adler, {name}")
    fleet.is_keyed = True
    with_keys = cached_tokens(ask, f"Zephyr, {name}")
    assert all("affinity" in body for body in fleet.asked)
    assert "ship" not in json.dumps(fleet.asked)
    assert "cook" not in json.dumps(fleet.asked)
    assert with_keys > 1.2 * without, f"{without} without keys, {with_keys} with them"
