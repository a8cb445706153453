"""Templates name images so that they stay what they are, or say that they may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from ballast.cli.errors import CliError
from ballast.cli.remote.registry import _split, digest_of
from ballast.templates import RegistryLogin
from chalicelib.core.model.market import Pin, pin_of
from fakes.console.server import KEY, Console, serve
from fakes.local_http import QuietHandler, serving
from tests.ballast.cli.conftest import Ballast

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(("image", "pin"), [
    (f"ghcr.io/org/tgi@{DIGEST}", Pin.DIGEST),
    (f"ghcr.io/org/tgi:3.3.6@{DIGEST}", Pin.DIGEST),
    ("ghcr.io:443/org/tgi:3.3.6", Pin.VERSION),
    ("vllm/vllm-openai:v0.32.0", Pin.VERSION),
    ("vllm/vllm-openai:latest", Pin.NONE),
    ("vllm/vllm-openai", Pin.NONE),
    ("registry.example:5000/1.2.3/model", Pin.NONE),
    ("python:3.12-slim", Pin.NONE),
    ("image:latest-3.1.2", Pin.NONE),
    (f"image@{DIGEST[:-1]}", Pin.NONE),
])  # fmt: skip
def test_how_surely_an_image_stays_what_it_is(image: str, pin: Pin) -> None:
    assert pin_of(image) is pin


@dataclass
class Registry:
    """A registry as the OCI distribution specification has it; `password` "": open to all."""

    password: str = ""
    digest: str = DIGEST
    asked: list[tuple[str, str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@contextmanager
def running(registry: Registry) -> Iterator[str]:
    class Handler(QuietHandler):
        def answer(self) -> None:
            if self.command == "GET":
                self.give_token()
                return
            given = self.headers.get("Authorization", "")
            registry.asked.append((self.path, given))
            if given != "Bearer of-the-registry":
                realm = f"http://{self.headers['Host']}/token"
                asks = f'Bearer realm="{realm}",service="r",scope="pull"'
                self.reply(401, WWW_Authenticate=asks)
                return
            assert "oci.image.index" in self.headers["Accept"]
            status = 200 if self.path.endswith("/3.3.6") else 404
            self.reply(status, Docker_Content_Digest=registry.digest)

        def give_token(self) -> None:
            registry.logins.append(self.headers.get("Authorization", ""))
            is_in = not registry.password or registry.logins[-1].startswith("Basic ")
            self.reply(200, json.dumps({"token": "of-the-registry"} if is_in else {}).encode())

    with serving(Handler) as address:
        yield address


def test_a_registry_tells_what_a_tag_is_now() -> None:
    registry = Registry()
    with running(registry) as host:
        assert digest_of(f"{host}/org/tgi", "3.3.6") == DIGEST
        with pytest.raises(CliError, match="HTTP 404"):
            digest_of(f"{host}/org/tgi", "9.9.9")
    assert registry.asked[0] == ("/v2/org/tgi/manifests/3.3.6", "")


def test_a_private_image_is_asked_for_with_its_login() -> None:
    registry = Registry(password="secret")
    with running(registry) as host:
        with pytest.raises(CliError, match="HTTP 401"):
            digest_of(f"{host}/org/tgi", "3.3.6")
        login = RegistryLogin(registry=host, user="me", password="secret")
        assert digest_of(f"{host}/org/tgi", "3.3.6", login) == DIGEST
    assert all("Basic" not in given for _, given in registry.asked)


@pytest.mark.parametrize("digest", ["", "sha256:ab", "md5:" + "ab" * 32, DIGEST + "; rm"])
def test_what_is_no_digest_is_none(digest: str) -> None:
    with running(Registry(digest=digest)) as host, pytest.raises(CliError):
        digest_of(f"{host}/org/tgi", "3.3.6")


@pytest.mark.parametrize(("image", "found"), [
    ("python", ("registry-1.docker.io", "library/python")),
    ("vllm/vllm-openai", ("registry-1.docker.io", "vllm/vllm-openai")),
    ("docker.io/vllm/vllm-openai", ("registry-1.docker.io", "vllm/vllm-openai")),
    ("ghcr.io/org/a/b", ("ghcr.io", "org/a/b")),
    ("localhost:5000/a", ("localhost:5000", "a")),
])  # fmt: skip
def test_names_are_completed_as_docker_does(image: str, found: tuple[str, str]) -> None:
    assert _split(image) == found


@pytest.mark.parametrize(("tag", "told"), [
    ("latest", "may be another one tomorrow"),
    ("3.3.6", "--pin names its digest"),
    (f"3.3.6@{DIGEST}", ""),
])  # fmt: skip
def test_a_copy_says_how_its_image_is_named(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch, tag: str, told: str
) -> None:
    result, _ = publish(ballast, monkeypatch, {"image": "ghcr.io/x/tgi", "tag": tag})
    assert told in result
    assert ("--pin" in result) is bool(told)


def test_pinned_it_is_published_by_its_digest(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Registry()) as host:
        for image in ({"image": f"{host}/x/tgi", "tag": "3.3.6"}, {"image": f"{host}/x/tgi:3.3.6"}):
            result, body = publish(ballast, monkeypatch, image, "--pin")
            assert (body["image"], body["tag"]) == (f"{host}/x/tgi", f"3.3.6@{DIGEST}")
            assert "nobody has tried a digest at Vast yet" in result


def publish(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch, image: dict[str, str], *words: str
) -> tuple[str, dict[str, object]]:
    original = {"hash_id": "abc", "name": "TGI", "env": "-p 3000:3000", **image}
    vast = Console(status={})
    vast.answers["/api/v0/template/"] = {"templates": [original], "template": {"hash_id": "new"}}
    monkeypatch.setenv("VAST_API_KEY", KEY)
    with serve(vast) as url:
        monkeypatch.setenv("BALLAST_VAST_URL", url)
        result = ballast("template", "publish", "abc", "--no-token", *words)
    assert result.code == 0, result.err
    return result.err.replace("\n", " "), vast.sent("POST", "/api/v0/template/")[0]
