"""`ballast panic --direct`: the owner's own keys, the tables and the marketplace; no deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ballast.cli.__main__ import run
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates


@pytest.mark.long
def test_panic_from_the_owners_machine_returns_everything_and_verifies_it(
    system: LocalSystem,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template_hash = register_templates(system.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]
    endpoint_id = owner.create_group("panicking", min_load=1.0, cold_workers=0, max_workers=1)
    owner.create_autogroup("panicking", template_hash, test_workers=1)
    wait_until("a machine", market.instances, 240.0)
    for name, value in system.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BALLAST_URL", system.url)
    monkeypatch.setenv("BALLAST_API_KEY", system.account_key)
    monkeypatch.setenv("BALLAST_CONFIG", str(tmp_path / "config.json"))
    stage = system.environment["BALLAST_STAGE"]
    assert run(["panic", "--direct", "--stage", stage, "--yes"]) == 0
    assert "none of it is left, verified" in capsys.readouterr().out
    assert not market.instances()
    assert run(["panic", "--clear", "--yes"]) == 0
    owner.delete_group(endpoint_id)
