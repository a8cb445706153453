"""From an empty account to removed, with each failure injected once: part of `make rehearse`."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from chalicelib import wiring
from chalicelib.adapters.aws.tables import TABLES
from infra.account import DeployError
from infra.stacks import StackError
from lab.local.moto_plus.stacks import FAILS
from tests.infra.test_resuming import CutOffError, Cutter, checkout, cutter, run
from tests.infra.test_stack_states import REASON, left_over, remove, resources_of

__all__ = ["checkout", "cutter"]  # fixtures

FAILURES = (CutOffError, DeployError, StackError, ClientError)
STACKS = ("core.yaml", "ops.yaml", "edge.yaml")
MOST_RUNS = 600


@pytest.mark.long
def test_a_stage_comes_and_goes_whatever_fails_once(cutter: Cutter, checkout: Path) -> None:
    """Each resource of each stack, and the connection before each AWS call."""
    assert not any(left_over().values())
    said: list[str] = []
    resources = {one for template in STACKS for one in resources_of(template)}
    FAILS.update(dict.fromkeys(resources, REASON))
    cutter.is_on = True
    n_runs = 0
    while True:
        n_runs += 1
        assert n_runs < MOST_RUNS
        try:
            result = run(cutter, checkout, said, protect_tables=True)
        except FAILURES:
            continue
        break
    cutter.is_on = False
    unmade = set(FAILS)  # only what a condition leaves out
    FAILS.clear()
    assert len(resources - unmade) > 40, sorted(unmade)
    assert len(cutter.cut_at) > 30
    assert result["url"].startswith("https://")
    there = left_over()
    assert len(there["tables"]) == len(TABLES)
    assert len(there["stacks"]) == len(STACKS)
    assert all(there.values()), there
    wiring.reset()
    assert wiring.api_ports().ledger.account().caps_microusd_per_hour == 1_500_000

    cutter.is_on = True
    cutter.cut_at.clear()
    for _ in range(MOST_RUNS):
        try:
            remove(cutter, checkout, said, delete_data=True)
        except FAILURES:
            continue
        break
    cutter.is_on = False
    assert not any(left_over().values()), left_over()
    assert said[-1] == "nothing of stage dev is left that bills or is secret"
