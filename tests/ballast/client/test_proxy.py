"""The official `openai` client, unmodified, completes and streams through the one-step proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import openai
import pytest

from ballast.proxy.server import ProxySettings, make_application
from tests.ballast.client.fake_openai import WORDS, FakeOpenAi
from tests.ballast.client.world import real_worker, served, servers, wait_until
from tests.workers.world import World
from workers.openai.server import BACK_END


@dataclass
class Running:
    """A proxy, the world behind it, and the model."""

    url: str
    world: World
    model: FakeOpenAi
    closing: ExitStack

    def client(self, path: str = "/v1", api_key: str = "blk.caller") -> openai.OpenAI:
        client = openai.OpenAI(base_url=self.url + path, api_key=api_key, max_retries=0)
        self.closing.callback(client.close)
        return client


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Running]:
    quick = replace(BACK_END, benchmark=replace(BACK_END.benchmark, n_rounds=1, concurrency=1))
    model = FakeOpenAi()
    with real_worker(tmp_path, quick, model.application()) as (it, control_plane_url):
        settings = ProxySettings(url=control_plane_url, endpoint="TGI-Llama3")
        with served(make_application(settings)) as url, ExitStack() as closing:
            yield Running(url, it, model, closing)


MESSAGES = [{"role": "user", "content": "Name a colour."}]


def test_a_chat_completes(proxy: Running) -> None:
    answer = proxy.client().chat.completions.create(model="any", messages=MESSAGES, max_tokens=32)
    assert answer.choices[0].message.content == "Blue is a colour"
    # vLLM refuses a name that it does not serve, and serves its own where none is given.
    assert proxy.model.payloads == [{"messages": MESSAGES, "max_tokens": 32}]
    assert proxy.world.control_plane.routes[0]["cost"] == 32
    assert proxy.world.control_plane.route_authorizations == ["Bearer blk.caller"]


def test_a_chat_streams(proxy: Running) -> None:
    stream = proxy.client().chat.completions.create(model="any", messages=MESSAGES, stream=True)
    assert [event.choices[0].delta.content for event in stream] == WORDS


def test_embeddings_and_any_endpoint_group_by_its_path(proxy: Running) -> None:
    answer = proxy.client("/Embedder/v1").embeddings.create(
        model="m", input="hello", encoding_format="float"
    )
    assert answer.data[0].embedding == [0.5, 0.25]
    asked = proxy.world.control_plane.routes[-1]
    assert (asked["endpoint"], asked["route"]) == ("Embedder", "/v1/embeddings")
    assert [m.id for m in proxy.client("/Embedder/v1").models.list()] == ["Embedder"]


def test_leaving_a_stream_cancels_it_at_the_worker(proxy: Running) -> None:
    stream = proxy.client().chat.completions.create(
        model="any", messages=MESSAGES, stream=True, max_tokens=1000
    )
    assert next(stream).choices[0].delta.content == WORDS[0]
    assert proxy.model.n_chunks < 900  # the first comes long before the last is made
    stream.close()
    reports = proxy.world.control_plane.reports
    wait_until(lambda: reports[-1]["n_cancelled"] == 1, "it is accounted")
    assert proxy.model.n_chunks < 900


def test_the_model_servers_words_reach_the_client(proxy: Running) -> None:
    with pytest.raises(openai.BadRequestError, match="empty conversation"):
        proxy.client().chat.completions.create(model="any", messages=[])


def test_a_refused_key_is_an_authentication_error(proxy: Running) -> None:
    proxy.world.control_plane.route_replies = [(401, {"error_msg": "invalid api_key"})]
    with pytest.raises(openai.AuthenticationError, match="invalid api_key"):
        proxy.client().chat.completions.create(model="any", messages=MESSAGES)


def test_without_a_worker_in_time_the_group_s_own_words_are_told(tmp_path: Path) -> None:
    with servers() as it:
        it.control_plane.next_grant = None
        settings = ProxySettings(url=it.control_plane_url, endpoint="e", timeout_s=0.5)
        with (
            served(make_application(settings)) as url,
            openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
            pytest.raises(openai.InternalServerError, match=r"503.*says: no workers"),
        ):
            client.chat.completions.create(model="any", messages=MESSAGES)
