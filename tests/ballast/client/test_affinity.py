"""Keys of prompts: the same for what begins alike, and nothing that a control plane could guess."""

from __future__ import annotations

import hashlib
import hmac
import json
import multiprocessing
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast.client.affinity import NO_AFFINITY, affinity_of
from ballast.client.affinity_secret import affinity_secret, secret_path
from ballast.client.sdk import Client
from chalicelib.services.keys import endpoint_key
from chalicelib.wire.routing import MAX_KEY_CHARS, MAX_KEYS, RouteRequest
from chalicelib.wire.token_cost import prompt_tokens
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld
from tests.ballast.client.world import Servers, servers
from workers.pyworker.model.answers import PromptRead
from workers.pyworker.reporting.cache_window import CacheWindow

SECRET = b"s" * 32
SYSTEM = {"role": "system", "content": "You are a pirate. " * 500}
HELLO = {"role": "user", "content": "Hello, who are you? " * 300}
ANSWER = {"role": "assistant", "content": "Arr! " * 400}
MORE = {"role": "user", "content": "And your ship?"}


def chat(*messages: object, **values: object) -> dict[str, object]:
    return {"model": "m", "messages": list(messages), **values}


def keys(payload: dict[str, object], conversation: str = "") -> tuple[str, ...]:
    return affinity_of(SECRET, "llm", payload, conversation).keys


def test_a_conversation_keeps_its_key_while_it_grows() -> None:
    first = keys(chat(SYSTEM, HELLO, stream=True, temperature=0.3))
    second = keys(chat(SYSTEM, HELLO, ANSWER, MORE, max_tokens=5))
    assert first == second
    assert len(first) == 2


def test_other_conversations_share_the_general_key_alone() -> None:
    one, other = keys(chat(SYSTEM, HELLO)), keys(chat(SYSTEM, MORE))
    assert one[0] == other[0]
    assert one[1] != other[1]


@pytest.mark.parametrize(
    "other",
    [
        {**chat(SYSTEM, HELLO), "model": "other"},
        chat(SYSTEM, HELLO, tools=[{"type": "function", "function": {"name": "sail"}}]),
        chat(SYSTEM, HELLO, cache_salt="tenant"),
        chat({"role": "system", "content": "You are a clerk."}, HELLO),
    ],
)
def test_what_no_cache_shares_has_no_key_in_common(other: dict[str, object]) -> None:
    assert not set(keys(chat(SYSTEM, HELLO))) & set(keys(other))
    same = affinity_of(SECRET, "another group", chat(SYSTEM, HELLO))
    assert not set(keys(chat(SYSTEM, HELLO))) & set(same.keys)


def test_what_is_saved_grows_with_what_was_there_before() -> None:
    first = affinity_of(SECRET, "llm", chat(SYSTEM, HELLO)).prefix_cost
    later = affinity_of(SECRET, "llm", chat(SYSTEM, HELLO, ANSWER, MORE)).prefix_cost
    assert first[0] == first[1] == later[0] > 0
    assert later[1] > 1.5 * first[1]
    assert all(cost == float(f"{cost:.2g}") for cost in (*first, *later))


def test_a_short_chat_says_what_it_saves_as_workers_count_it() -> None:
    """757 tokens were said to save nothing, and its third turn went to a cold worker."""
    opening = {"role": "user", "content": "Tell me of the whale. " * 100}
    turns = [opening, {"role": "assistant", "content": "No."}, {"role": "user", "content": "And?"}]
    saved = affinity_of(SECRET, "llm", chat(*turns)).prefix_cost[-1]
    window = CacheWindow()
    read = prompt_tokens([opening["content"], "No."])
    window.take(PromptRead(tokens=read, cached=read), 100.0, 0.0)
    spared_share = window.fields()["cache_spared_share"]
    assert saved == pytest.approx(100.0 * float(str(spared_share)), rel=0.06)
    assert saved > 25


def test_plain_prompts_have_keys_by_length_that_stay_as_they_grow() -> None:
    text = "".join(f"line {i}\n" for i in range(5_000))
    short = keys({"prompt": text[:2_000]})
    assert keys({"prompt": text[:900]}) == ()
    assert len(short) == 1
    assert keys({"inputs": text})[0] == short[0]
    assert keys({"prompt": text})[:1] == short
    assert len(keys({"prompt": list(range(4_000))})) == 2


def test_a_callers_own_id_names_the_conversation() -> None:
    one = keys(chat(SYSTEM, HELLO), "chat 7")
    assert one[1] == keys(chat(SYSTEM, MORE), "chat 7")[1] != keys(chat(SYSTEM, HELLO))[1]
    assert one == keys(chat(SYSTEM, HELLO, prompt_cache_key="chat 7"))
    session = affinity_of(SECRET, "llm", {"lifetime": 60}, "session of Ann").fields()
    assert list(session) == ["affinity"]  # what it will save nobody knows yet
    assert len(keys({"lifetime": 60}, "session of Ann")) == 1
    assert "Ann" not in str(keys({"lifetime": 60}, "session of Ann"))


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"messages": None},
        {"messages": []},
        {"messages": ["x"]},
        {"messages": [{"role": 5, "content": None}]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": ["a", "b"]},
        {"input": 5, "instructions": {}},
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
        {"prompt_cache_key": 5},
        {"workflow": {"nodes": []}},
    ],
)
def test_any_payload_gives_keys_that_a_control_plane_takes(payload: dict[str, object]) -> None:
    found = affinity_of(SECRET, "llm", payload)
    request = RouteRequest.from_json(json.dumps({"endpoint": "llm", **found.fields()}))
    assert request.affinity == found.keys
    assert len(found.keys) <= MAX_KEYS
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in found.keys)
    assert MAX_KEY_CHARS >= 32
    if not found.keys:
        assert found == NO_AFFINITY
        assert found.fields() == {}


# The secret


def test_a_user_has_one_secret_that_nobody_else_can_read(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    first = affinity_secret(home)
    path = secret_path(home)
    assert first == affinity_secret(home) == path.read_bytes()
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["affinity.key"]
    assert affinity_secret({"XDG_CONFIG_HOME": str(tmp_path / "other")}) != first


def test_a_secret_that_others_could_read_or_that_is_cut_is_made_anew(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    first = affinity_secret(home)
    secret_path(home).chmod(0o644)
    second = affinity_secret(home)
    assert second != first
    assert stat.S_IMODE(secret_path(home).stat().st_mode) == 0o600
    secret_path(home).write_bytes(b"half")
    assert len(affinity_secret(home)) == 32


def test_the_variable_wins_and_must_not_be_guessable(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path), "BALLAST_AFFINITY_KEY": "k" * 16}
    assert affinity_secret(home) == b"k" * 16
    assert not secret_path(home).exists()
    with pytest.raises(ValueError, match="has 5 characters and can be guessed"):
        affinity_secret({**home, "BALLAST_AFFINITY_KEY": "short"})


def test_no_api_key_is_the_secret(tmp_path: Path) -> None:
    """The control plane knows them: with one it could try out prompts."""
    world = HotWorld()
    for key in (endpoint_key(world.secrets, ENDPOINT_ID, 1), "  blk.a-r-mine.1.secret-of-mine\n"):
        with pytest.raises(ValueError, match=r"API key.*openssl rand"):
            affinity_secret({"HOME": str(tmp_path), "BALLAST_AFFINITY_KEY": key})


def test_a_line_break_of_a_file_makes_no_other_secret() -> None:
    """Two machines that share a secret may read it in two ways."""
    given = [{"BALLAST_AFFINITY_KEY": "k" * 16 + end} for end in ("", "\n", " \r\n")]
    assert {affinity_secret(environment) for environment in given} == {b"k" * 16}


def test_without_a_place_for_the_file_the_secret_is_the_processs_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = {"XDG_CONFIG_HOME": str(tmp_path / "file")}
    assert len(affinity_secret(home)) == 32
    assert affinity_secret(home) != affinity_secret(home)


def _read(directory: str) -> bytes:
    return affinity_secret({"XDG_CONFIG_HOME": directory})


def test_processes_that_begin_together_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert len(set(pool.map(_read, [str(tmp_path)] * 64, chunksize=1))) == 1


# What a control plane is told


@pytest.fixture
def it() -> Iterator[Servers]:
    with servers() as running:
        yield running


def test_neither_a_prompt_nor_what_could_be_guessed_reaches_the_control_plane(
    it: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """A dictionary with the right prompt in it, and the API key, make none of the keys."""
    caplog.set_level("DEBUG")
    payload = chat(SYSTEM, HELLO)
    with Client("blk.key", it.control_plane_url) as client:
        client.request("llm", "/v1/chat/completions", payload, conversation="Ann").close()
    asked = it.control_plane.routes[-1]
    told = json.dumps(asked)
    for word in ("pirate", "who are you", "Ann"):
        assert word not in told
        assert word not in caplog.text
    sent = asked["affinity"]
    assert isinstance(sent, list)
    assert not set(sent) & set(dictionary(payload, secrets=(b"", b"blk.key", b"llm")))
    for key in sent:
        assert key not in caplog.text


def test_sessions_of_one_conversation_ask_with_the_same_key(it: Servers) -> None:
    with Client("blk.key", it.control_plane_url) as client:
        for conversation in ("Ann", "Ann", "Bob"):
            client.request(
                "llm", "/session/create", {"lifetime": 60}, conversation=conversation
            ).close()
    first, again, other = (asked["affinity"] for asked in it.control_plane.routes[-3:])
    assert first == again != other


def test_names_that_json_makes_texts_of_are_no_error() -> None:
    """`requests` sends them; to put them in order before was a TypeError of every such call."""
    odd, plain = ({"role": "user", "content": "a", **more} for more in ({1: "b"}, {"1": "b"}))
    assert keys(chat(odd)) == keys(chat(plain)) != keys(chat({"role": "user", "content": "a"}))


def dictionary(payload: dict[str, object], secrets: tuple[bytes, ...]) -> Iterator[str]:
    """What somebody would try who guessed the prompt and knows how keys are made."""
    system, hello = str(SYSTEM["content"]), str(HELLO["content"])
    texts = [system, hello, system + hello, json.dumps(payload), "Ann", json.dumps("Ann")]
    for text in texts:
        for name in ("sha256", "sha1", "md5", "blake2b"):
            yield hashlib.new(name, text.encode()).hexdigest()
            yield hashlib.new(name, text.encode()).hexdigest()[:32]
        for secret in secrets:
            yield hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]
    for secret in secrets:
        for conversation in ("", "Ann"):
            yield from affinity_of(secret, "llm", payload, conversation).keys


def test_two_customers_with_the_same_prompt_cannot_be_linked(tmp_path: Path) -> None:
    one, other = (affinity_secret({"XDG_CONFIG_HOME": str(tmp_path / name)}) for name in "ab")
    payload = chat(SYSTEM, HELLO)
    assert not set(affinity_of(one, "llm", payload).keys) & set(
        affinity_of(other, "llm", payload).keys
    )
