"""Secrets: asked for or from the environment, stored where only the scaler reads, never shown."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from ballast.cli.errors import CliError
from ballast.cli.remote.vast import gated_warning, private_copy
from ballast.cli.root import root
from ballast.templates import RegistryLogin
from chalicelib.core.fleet.pacing import Verb
from fakes.console.server import KEY, Console, serve
from lab.local.market.marketplace_server import RunningMarketplace, serve_marketplace

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

VAST_KEY = "vast-key-0123456789abcdef"
CANARY = "hf_CANARY0123456789abcdef"
TEMPLATE = {
    "hash_id": "dcd0920f", "name": "TGI", "image": "ghcr.io/x/tgi", "tag": "3",
    "env": "-p 3000:3000 -e HF_TOKEN= -e MODEL_ID=old/model -e USE_SSL=true",
    "onstart": "start.sh", "extra_filters": {"gpu_ram": {"gte": 23_000}}, "creator_id": 4,
}  # fmt: skip


def test_a_private_copy_sets_the_token_and_keeps_the_rest() -> None:
    body = private_copy(TEMPLATE, {"HF_TOKEN": CANARY, "MODEL_ID": "new/model"})
    assert body["private"] is True
    assert body["env"] == (
        f"-p 3000:3000 -e USE_SSL=true -e HF_TOKEN={CANARY} -e MODEL_ID=new/model"
    )
    assert body["image"] == "ghcr.io/x/tgi"
    assert "creator_id" not in body
    assert "hash_id" not in body


@pytest.mark.parametrize("value", ["", "a b", "a'b", "a$b", "a`b", 'a"b', "a\nb", "a\\b"])
def test_a_value_that_would_break_the_flags_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(CliError) as refused:
        private_copy(TEMPLATE, {"HF_TOKEN": value})
    assert not value or value not in refused.value.message


def test_gated_models_are_told_of() -> None:
    assert gated_warning("Qwen/Qwen3-8B", has_token=False) == []
    [warning] = gated_warning("meta-llama/Meta-Llama-3-8B-Instruct", has_token=False)
    assert "which is missing here" in warning


@pytest.mark.parametrize("source", ["dcd0920f", "tgi"])
def test_publish_makes_a_private_template_and_never_shows_the_token(
    ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    console.answers["/bundle/"] = {"sha256": "ab" * 32, "size": 150_000}
    vast = Console(status={})
    vast.answers["/api/v0/template/"] = {
        "templates": [TEMPLATE], "template": {"hash_id": "newhash", "id": 9, "env": CANARY},
    }  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("VAST_API_KEY", KEY)
    model = "meta-llama/Meta-Llama-3-8B-Instruct"
    with serve(vast) as url:
        monkeypatch.setenv("BALLAST_VAST_URL", url)
        for extra in ((), ("--json",)):
            result = ballast("template", "publish", source, "--model", model, *extra)
            assert result.code == 0
            assert "newhash" in result.out
            assert CANARY not in result.out + result.err
    body = vast.sent("POST", "/api/v0/template/")[0]
    assert f"HF_TOKEN={CANARY}" in body["env"]
    assert model in body["env"]
    assert CANARY not in str(console.calls)  # it never goes through the deployment


def test_at_a_terminal_the_token_is_asked_for_without_echo(
    ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one, a gated model is warned about, before anything can be rented."""
    console.answers["/bundle/"] = {"sha256": "ab" * 32, "size": 150_000}
    vast = Console(status={}, answers={"/api/v0/template/": {"template": {"hash_id": "newhash"}}})
    publish = ("template", "publish", "tgi", "--model", "meta-llama/Meta-Llama-3-8B-Instruct")
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve(vast) as url:
        monkeypatch.setenv("BALLAST_VAST_URL", url)
        shown = at_a_terminal(publish, CANARY)
        warned = ballast(*publish, "--no-token")
        assert ballast("template", "publish", "hello_world").code == 0  # no model: nothing is asked
    assert "newhash" in shown
    assert CANARY not in shown
    assert f"HF_TOKEN={CANARY}" in vast.sent("POST", "/api/v0/template/")[0]["env"]
    assert "gated: without HF_TOKEN no worker will ever load it" in warned.err


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("VAST_API_KEY", "template publish hello_world"),
        ("HF_TOKEN", "template publish tgi --model org/model"),
        ("BALLAST_API_KEY", "login"),
    ],
)
def test_without_a_terminal_a_missing_secret_is_named_and_nothing_is_asked(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch, variable: str, words: str
) -> None:
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.stdin", StringIO())
    result = ballast(*words.split())
    assert result.code == 2
    assert f"{variable} is not set, and there is no terminal" in result.err


def at_a_terminal(words: Sequence[str], typed: str) -> str:
    """What a terminal shows of the command when `typed` answers its first question."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ballast.cli", *words],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=Path(__file__).parents[3],
        start_new_session=True,
    )
    os.close(its)
    shown = b""
    with suppress(OSError), os.fdopen(ours, "r+b", buffering=0) as terminal:  # closed by its end
        while b"not shown" not in shown:
            shown += terminal.read(4096)
        terminal.write(typed.encode() + b"\n")
        while chunk := terminal.read(4096):
            shown += chunk
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_an_unknown_template_is_refused(ballast: Ballast, monkeypatch: pytest.MonkeyPatch) -> None:
    vast = Console(status={}, answers={"/api/v0/template/": {"templates": []}})
    monkeypatch.setenv("VAST_API_KEY", KEY)
    with serve(vast) as url:
        monkeypatch.setenv("BALLAST_VAST_URL", url)
        result = ballast("template", "publish", "nope", "--no-token")
    assert result.code == 1
    assert "Vast knows no template nope" in result.err


@pytest.fixture
def vast(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningMarketplace]:
    """A pretend Vast that knows one key."""
    with serve_marketplace(api_key=VAST_KEY) as running:
        monkeypatch.setenv("BALLAST_VAST_URL", running.url)
        yield running


@pytest.fixture
def stored(aws: None) -> Callable[[], str | None]:
    """What stage prod keeps as its key; the deployment made the place."""
    client = boto3.client("secretsmanager")
    client.create_secret(Name="ballast-prod/vast-api-key")

    def read() -> str | None:
        try:
            value = client.get_secret_value(SecretId="ballast-prod/vast-api-key")
        except client.exceptions.ResourceNotFoundException:
            return None
        return str(value["SecretString"])

    return read


def set_key(value: str, *options: str) -> Result:
    """`secret set` with this on standard input."""
    words = ["secret", "set", "VAST_API_KEY", "--stage", "prod", *options]
    return CliRunner().invoke(root, words, value)


def said(result: Result) -> str:
    """Everything that was told."""
    return f"{result.output}{result.exception}"


def test_secret_set_stores_what_is_typed_and_shows_nothing(
    stored: Callable[[], str | None], vast: RunningMarketplace
) -> None:
    """Vast is asked first what the key may do."""
    result = set_key(VAST_KEY)
    assert result.exit_code == 0, said(result)
    assert VAST_KEY not in said(result)
    assert stored() == VAST_KEY
    assert {call.verb for call in vast.world.market.calls} == {
        Verb.LIST, Verb.SEARCH, Verb.TEMPLATE, Verb.CREDIT,
    }  # fmt: skip
    assert set_key("short", "--unchecked").exit_code != 0
    assert stored() == VAST_KEY


def test_a_stage_that_is_not_deployed_gets_no_secret_of_its_own(
    stored: Callable[[], str | None],
) -> None:
    """A command that made one would leave prod's key as it is."""
    assert "stage prdo is not deployed" in said(set_key(CANARY, "--unchecked", "--stage", "prdo"))
    names = [s["Name"] for s in boto3.client("secretsmanager").list_secrets()["SecretList"]]
    assert names == ["ballast-prod/vast-api-key"]


def test_a_key_that_vast_refuses_is_not_stored(
    stored: Callable[[], str | None], vast: RunningMarketplace
) -> None:
    """Each right is named; who must store it all the same can."""
    told = said(set_key(CANARY))
    assert "not stored: Vast refuses this key instance_read" in told
    assert "user_read (credit)" in told
    assert CANARY not in told
    assert stored() is None
    assert set_key(CANARY, "--unchecked").exit_code == 0
    assert stored() == CANARY


def test_a_vast_that_does_not_answer_is_not_a_key_that_is_right(
    stored: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known, which is said."""
    monkeypatch.setenv("BALLAST_VAST_URL", "http://127.0.0.1:9")
    told = said(set_key(CANARY))
    assert "not stored: Vast did not say whether the key may instance_read" in told
    assert stored() is None


def test_a_registry_login_goes_into_the_template_and_nowhere_else(
    ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vast asks for all three members, empty where the image is public."""
    console.answers["/bundle/"] = {"sha256": "ab" * 32, "size": 150_000}
    vast = Console(status={}, answers={"/api/v0/template/": {"template": {"hash_id": "newhash"}}})
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("REGISTRY_PASSWORD", CANARY)
    publish = ("template", "publish", "hello_world")
    with serve(vast) as url:
        monkeypatch.setenv("BALLAST_VAST_URL", url)
        result = ballast(*publish, "--registry", "ghcr.io", "--registry-user", "me")
        assert ballast(*publish).code == 0
        half = ballast(*publish, "--registry", "ghcr.io")
    private, public = vast.sent("POST", "/api/v0/template/")
    members = ("docker_login_repo", "docker_login_user", "docker_login_pass")
    assert [private[name] for name in members] == ["ghcr.io", "me", CANARY]
    assert [public[name] for name in members] == ["", "", ""]
    assert CANARY not in result.out + result.err + str(console.calls)
    assert (half.code, "needs both" in half.err) == (2, True)


def test_a_copy_keeps_the_registry_login_of_its_original() -> None:
    """Unless another one is given."""
    login = RegistryLogin(registry="r", user="u", password=CANARY)
    original = TEMPLATE | login.members()
    assert private_copy(original, {}).items() >= login.members().items()
    assert CANARY not in repr(login)
    other = RegistryLogin(registry="other", user="u", password="p")
    assert private_copy(original, {}, other).items() >= other.members().items()
    assert private_copy(TEMPLATE, {})["docker_login_repo"] == ""


READING = (
    "status", "status TGI-Llama3", "workers TGI-Llama3", "show endpoints", "show endpoint 7",
    "show autogroups", "show autogroup 11", "show account", "compare TGI-Llama3",
    "update endpoint TGI-Llama3 --min_load 5", "update autogroup 11 --weight 2", "logs --account",
    "freeze TGI-Llama3", "pause 11 --autogroup --yes", "pause TGI-Llama3 --yes",
    "resume TGI-Llama3", "rollout 11 10", "promote 11 --yes", "spend",
    "stats TGI-Llama3 --metric capacity",
)  # fmt: skip


@pytest.mark.parametrize("command", READING)
def test_no_output_holds_the_callers_or_the_endpoints_key(
    ballast: Ballast, console: Console, command: str
) -> None:
    console.answers |= {"/api/v0/rollout": {}, "/api/v0/promote": {}}
    for extra in ((), ("--json",)):
        result = ballast(*command.split(), *extra)
        assert result.code == 0
        for secret in ("blk.e7-r-own.1.secret", KEY):
            assert secret not in result.out + result.err


def test_the_planted_key_is_really_there_to_be_found(console: Console) -> None:
    assert "blk.e7-r-own.1.secret" in str(console.endpoints) + str(console.autogroups)


def test_a_secret_of_another_name_is_refused_before_it_is_asked_for(ballast: Ballast) -> None:
    """Completion had taken the argument's own type away: any name was stored as Vast's key."""
    refused = ballast("secret", "set", "FOO")
    assert refused.code == 2
    assert "'FOO' is not 'VAST_API_KEY'" in refused.err
    assert "{VAST_API_KEY}" in ballast("secret", "set", "--help").out


def test_words_are_shown_as_the_api_spells_them_and_taken_with_dashes(
    ballast: Ballast, console: Console
) -> None:
    assert "on_time_first" in ballast("update", "endpoint", "--help").out
    changed = ballast("update", "endpoint", "TGI-Llama3", "--queue-order", "on-time-first", "--yes")
    assert changed.code == 0
    assert console.sent("PUT", "/api/v0/endptjobs/7/")[-1]["queue_order"] == "on_time_first"
