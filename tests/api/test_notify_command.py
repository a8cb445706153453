"""`ballast notify` before the real app: each kind is added, tried and removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ballast.cli.__main__ import run
from tests.api.over_fakes import Api
from tests.peers.test_vendor_cli import api, url

__all__ = ["api", "url"]  # fixtures

MAIL = "o@example.com"
ADDRESSES = {
    "slack": "https://hooks.slack.com/services/T000/B000/secret",
    "discord": "https://discord.com/api/webhooks/1/secret",
    "webhook": "https://alerts.example.org/secret",
}
Notify = Callable[..., tuple[int, str]]


@pytest.fixture
def notify(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Notify:
    """Run `ballast notify` with these words; its exit code and what it said."""
    for name, value in {"URL": url, "API_KEY": api.key, "CONFIG": "/nowhere"}.items():
        monkeypatch.setenv(f"BALLAST_{name}", value)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str]:
        code = run(["notify", *words])
        return code, "".join(capsys.readouterr())

    return call


@pytest.mark.parametrize("channel", ADDRESSES)
def test_a_webhook_of_each_kind_is_added_tried_and_removed(
    api: Api, notify: Notify, channel: str
) -> None:
    assert "nobody is told" in notify("list")[1]
    code, said = notify("add", channel, ADDRESSES[channel])
    assert (code, "ballast notify test" in said) == (0, True)
    code, said = notify("test")
    assert (code, "delivered" in said) == (0, True)
    assert [name for name, _ in api.receivers.sent] == [channel]
    api.receivers.broken.add(channel)
    code, said = notify("test")
    assert code == 5
    assert "reached nobody" in said
    assert "HTTP 500" in said
    assert "secret" not in notify("list")[1]
    assert notify("remove", channel)[0] == 0
    assert notify("remove", channel)[0] == 1
    assert api.receivers.receivers() == []


@pytest.mark.parametrize("word", ["email", "e-mail"])
def test_an_address_is_pending_until_its_owner_followed_the_link(
    api: Api, notify: Notify, word: str
) -> None:
    assert notify("add", word, MAIL)[0] == 1  # no topic to mail from
    api.receivers.remember_topic("arn:aws:sns:us-east-1:1:alerts")
    code, said = notify("add", word, MAIL)
    assert (code, "follow its link" in said) == (0, True)
    assert "pending" in notify("list")[1]
    code, said = notify("test")
    assert code in (1, 5)  # nobody who could hear it
    api.receivers.confirm(MAIL)
    assert "pending" not in notify("list")[1]
    code, said = notify("test")
    assert (code, "delivered" in said) == (0, True)
    assert notify("remove", MAIL)[0] == 0


def test_one_that_hears_is_enough_and_the_others_are_shown(api: Api, notify: Notify) -> None:
    for channel, address in ADDRESSES.items():
        notify("add", channel, address)
    notify("add", "webhook", "https://second.example.org/", "--name", "second")
    api.receivers.broken |= {"slack", "second"}
    code, said = notify("test")
    assert code == 0
    states = {
        "slack slack": "failed",
        "discord discord": "delivered",
        "webhook webhook": "delivered",
        "second webhook": "failed",
    }
    for row, state in states.items():
        (line,) = (one for one in said.splitlines() if row in " ".join(one.split()))
        assert state in line


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("slack", "http://hooks.slack.com/x"),
        ("discord", "https://127.0.0.1/x"),
        ("webhook", "https://[::1]/"),
        ("webhook", "https://a.example.org:22/"),
        ("email", "nobody"),
        ("email", "a@b"),
    ],
)
def test_an_address_that_cannot_be_told_is_refused_with_the_field(
    api: Api, notify: Notify, channel: str, address: str
) -> None:
    code, said = notify("add", channel, address)
    assert (code, "address" in said) == (1, True)
    assert api.receivers.receivers() == []
