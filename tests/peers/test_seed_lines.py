"""What the documentation prints works as printed: its two commands and its client."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from docs.terminal import run_at_terminal
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import Owner, wait_until
from lab.local.system.templates import register_templates
from tests.peers.fleet import OURS, READY_TIMEOUT_S, Fleets

PRINTED_CLIENT = Path(__file__).with_name("printed_client.txt")
CREATE_ENDPOINT = (
    'create endpoint --endpoint_name "TGI-Llama3" --cold_mult 1.0 --min_load 100 '
    "--target_util 0.9 --max_workers 20 --cold_workers 5"
)
CREATE_AUTOGROUP = (
    'create autogroup --endpoint_name "TGI-Llama3" --template_hash "$TEMPLATE_HASH" '
    "--test_workers 5"
)


def environment_of(system: LocalSystem) -> dict[str, str]:
    """What a user's shell holds."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(system.state_directory),
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        "BALLAST_URL": system.url,
        "BALLAST_API_KEY": system.account_key,
    }


def run(
    arguments: list[str], system: LocalSystem, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A Python program as a user would run it."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment_of(system), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def template_hash(system: LocalSystem) -> str:
    return register_templates(system.market_url, [OURS])[OURS.name]


def test_the_seeds_commands(system: LocalSystem, fleets: Fleets, template_hash: str) -> None:
    """Both lines, through our own CLI at a terminal; the second shows its price, and asks."""
    owner = Owner(system.url, system.account_key)
    for line, answers in (
        (CREATE_ENDPOINT, ()),
        (CREATE_AUTOGROUP.replace("$TEMPLATE_HASH", template_hash), ("y",)),
    ):
        program = [sys.executable, "-m", "ballast.cli", *shlex.split(line)]
        code, output = run_at_terminal(program, environment_of(system), answers)
        assert code == 0, output

    row = next(row for row in owner.groups() if row["endpoint_name"] == "TGI-Llama3")
    fleets.adopt("TGI-Llama3", int(row["id"]))
    assert row["cold_mult"] == 1.0
    assert row["min_load"] == 100
    assert row["target_util"] == 0.9
    assert row["max_workers"] == 20
    assert row["cold_workers"] == 5
    (autogroup,) = [
        each
        for each in owner.call("GET", "/api/v0/autojobs/")["results"]
        if each["endpoint_id"] == row["id"]
    ]
    assert autogroup["template_hash"] == template_hash
    assert autogroup["test_workers"] == 5

    workers = wait_until(
        "a worker of the seed's group",
        lambda: owner.workers(int(row["id"])),
        READY_TIMEOUT_S,
    )
    assert 1 <= len(workers) <= 5


def test_the_seeds_printed_client(system: LocalSystem, fleets: Fleets) -> None:
    """The program as printed, with the host changed, and the reader's own key and group."""
    fleet = fleets.get("peers-ours", {OURS: 1})
    assert fleet.owner.ticket(fleet.name, cost=8)  # it asks only once, so routers must know
    program = PRINTED_CLIENT.read_text()
    for printed, ours in (
        ("https://run.vast.ai", system.url),
        ("YOUR_VAST_API_KEY", system.account_key),
        ('"TGI-Llama3"', repr(fleet.name)),
    ):
        assert printed in program
        program = program.replace(printed, ours)
    done = run(["-c", program], system)
    assert done.returncode == 0, done.stderr
    assert "Response from endpoint:" in done.stdout
    assert '"generated_text"' in done.stdout
