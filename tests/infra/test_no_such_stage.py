"""Each command that takes a stage, with one that is not deployed: it says so, and makes nothing."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from importlib import import_module

import pytest

from ballast.cli.__main__ import run
from chalicelib import wiring
from tests.infra.test_stack_states import left_over

STAGE = "prdo"
OF_INFRA = (
    "bootstrap --new-admin-key",
    "bootstrap --rotate-signing-key",
    "restore --make-tables",
    "restore --dry-run",
    "restore",
)
OF_BALLAST = (
    "secret set VAST_API_KEY --unchecked",
    "doctor",
    "freeze --direct",
    "unfreeze --direct",
    "unfreeze --direct --yes",
    "panic --direct --yes",
    "panic --clear --direct",
    "panic --clear --direct --yes",
)


@pytest.fixture
def empty(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account without any stage, and an owner who means another one of theirs."""
    for name in ("BALLAST_URL", "BALLAST_API_KEY", "BALLAST_TABLE_PREFIX", "BALLAST_ROLE"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("BALLAST_STAGE", "prod")
    monkeypatch.setenv("VAST_API_KEY", "v" * 40)
    wiring.reset()
    yield
    wiring.reset()


@pytest.mark.parametrize("command", OF_INFRA)
def test_a_command_of_the_deployer_makes_nothing_where_no_stage_is(
    empty: None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, *options = command.split()
    monkeypatch.setattr(sys, "argv", [module, "--stage", STAGE, *options])
    with pytest.raises(SystemExit) as ended:
        import_module(f"infra.{module}").main()
    assert STAGE in str(ended.value.code)
    assert not any(left_over().values()), left_over()


@pytest.mark.parametrize("command", OF_BALLAST)
def test_a_command_of_the_owner_makes_nothing_where_no_stage_is(
    empty: None,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("k" * 40 + "\n"))
    code = run([*command.split(), "--stage", STAGE])
    said = "".join(capsys.readouterr())
    assert code
    assert STAGE in said
    assert not any(left_over().values()), left_over()
