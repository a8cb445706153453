"""A deploy that is cut off at any AWS call is finished by running it again; state survives."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.clients import aws_session
from chalicelib.core.model.caller_key import VERBS
from chalicelib.services.keys import KeyMemory, check_key, issue_key
from infra.account import Aws, DeployError
from infra.bootstrap import Caps, bootstrap
from infra.deploy import deploy
from infra.functions import LAMBDA_SUFFIXES
from infra.options import ROOT, Options
from infra.undeploy import undeploy
from tests.infra.test_rehearsal import assert_undeploy_refuses_while_machines_live
from tests.infra.test_stacks import no_pause

ROLE = {"Version": "2012-10-17", "Statement": []}


class CutOffError(Exception):
    """The deployer's connection broke."""


@dataclass
class Cutter:
    """Breaks the connection at each kind of AWS call once: at its first occurrence.

    A kind is an operation, and what it touches: each table, key and stack for itself.
    """

    cut_at: dict[str, str] = field(default_factory=dict)  # operation by signature
    by_operation: bool = False  # whatever it touches: a third of the runs
    is_on: bool = False
    is_after: bool = False  # AWS has done what was asked, and the deployer never hears
    broken: bool = False

    def watch(self, session: Any) -> None:
        """Stand between a botocore session's clients and AWS."""
        session.register("before-call", self.before)
        session.register("after-call", self.after)

    def before(self, model: Any, params: Mapping[str, Any], **_: object) -> None:
        """Handler of botocore's event."""
        signature = model.name if self.by_operation else _signature(model.name, params)
        self.broken = self.is_on and signature not in self.cut_at
        if self.broken:
            self.cut_at[signature] = model.name
            if not self.is_after:
                raise CutOffError(model.name)

    def after(self, model: Any, **_: object) -> None:
        """Handler of botocore's event."""
        if self.broken:
            raise CutOffError(model.name)


def _signature(operation: str, params: Mapping[str, Any]) -> str:
    """The operation and the names of what it touches, without what is random in them."""
    body = params["body"]
    text = body.decode() if isinstance(body, bytes) else json.dumps(body)
    names = re.findall(r'"(?:TableName|StackName|key_id|item|kind)": ?(?:{"S": ?)?"([^"]*)', text)
    return re.sub("[0-9a-f]{8,}", "#", " ".join([operation, params["url_path"], *names]))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the deploy reads and writes of a checkout."""
    (tmp_path / "chalicelib").mkdir()
    shutil.copytree(ROOT / ".chalice", tmp_path / ".chalice")
    return tmp_path


@pytest.fixture
def cutter(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    for name in ("BALLAST_STAGE", "BALLAST_TABLE_PREFIX", "BALLAST_KMS_ALIAS"):
        monkeypatch.setenv(name, "")  # so that what the deploy sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("BALLAST_STAGE", "another")  # must not lead the deploy astray
    wiring.reset()
    yield Cutter()
    wiring.reset()


def session(cutter: Cutter) -> Aws:
    """The deploy's own calls, and those of the adapters through which it makes keys and caps."""
    os.environ["BALLAST_STAGE"] = "dev"
    wiring.reset()  # as a new process begins
    cutter.watch(aws_session())
    made = botocore.session.get_session()
    cutter.watch(made)
    return Aws(boto3.Session(botocore_session=made, region_name="us-east-1"), no_pause)


def chalice(checkout: Path) -> Any:
    """Chalice's part, with a package of one line: functions made or updated, a zip left behind."""

    def run(_command: str, stage: str, _say: object, *, root: Path) -> None:
        deployments = root / ".chalice" / "deployments"
        deployments.mkdir(exist_ok=True)
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("app.py", "pass\n")
        (deployments / "package.zip").write_bytes(body.getvalue())
        iam, functions = boto3.client("iam"), boto3.client("lambda")
        if not any(r["RoleName"] == "ballast" for r in iam.list_roles()["Roles"]):
            iam.create_role(RoleName="ballast", AssumeRolePolicyDocument=json.dumps(ROLE))
        arn = iam.get_role(RoleName="ballast")["Role"]["Arn"]
        known = {f["FunctionName"] for f in functions.list_functions()["Functions"]}
        for name in (f"ballast-{stage}{suffix}" for suffix in LAMBDA_SUFFIXES):
            if name not in known:
                functions.create_function(
                    FunctionName=name,
                    Runtime="python3.11",
                    Role=arn,
                    Handler="app.app",
                    Code={"ZipFile": body.getvalue()},
                )

    return run


def options(checkout: Path) -> Options:
    return Options(
        stage="dev",
        caps=Caps(usd_per_hour=1.5),
        split=True,
        edge=True,
        ops=True,
        slim=True,
        protect_tables=False,
        vast_key=lambda: "vast-key",
        root=checkout,
    )


def run(cutter: Cutter, checkout: Path, said: list[str], **changes: Any) -> dict[str, str]:
    """One run of `make deploy`."""
    wanted = replace(options(checkout), **changes)
    return dict(deploy(wanted, session(cutter), said.append, chalice(checkout)))


def cut_everywhere(cutter: Cutter, checkout: Path, said: list[str]) -> set[str]:
    """Run the deploy until no call is left to cut it off at; gives the operations."""
    cutter.is_on = True
    while True:
        try:
            result = run(cutter, checkout, said)
        except (CutOffError, DeployError):
            continue
        assert result["url"].startswith("https://")
        cutter.is_on = False
        assert len(cutter.cut_at) > (20 if cutter.by_operation else 50)
        return set(cutter.cut_at.values())


def first_keys(said: list[str]) -> list[str]:
    return [line.rpartition(" ")[2] for line in said if line.startswith("first admin key")]


def assert_deployed(admin_key: str) -> None:
    ports = wiring.api_ports()
    assert ports.ledger.account().caps_microusd_per_hour == 1_500_000
    assert ports.ledger.account().caps_microusd_per_day == 50_000_000
    assert check_key(ports, KeyMemory(), admin_key, ports.clock.now()).may("admin")
    names = {f["FunctionName"] for f in boto3.client("lambda").list_functions()["Functions"]}
    assert names == {f"ballast-dev{suffix}" for suffix in LAMBDA_SUFFIXES}


@pytest.mark.parametrize("by_operation", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_deploy_cut_off_before_any_call_is_resumed_by_running_it_again(
    cutter: Cutter, checkout: Path, *, by_operation: bool
) -> None:
    cutter.by_operation = by_operation
    said: list[str] = []
    cut_at = cut_everywhere(cutter, checkout, said)
    assert {"CreateStack", "PutSecretValue", "UpdateFunctionCode"} <= cut_at
    assert {"GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext"} <= cut_at
    (admin_key,) = first_keys(said)  # made once, told once
    assert_deployed(admin_key)


@pytest.mark.long
def test_a_deploy_that_never_hears_an_answer_is_resumed_by_running_it_again(
    cutter: Cutter, checkout: Path
) -> None:
    """AWS has stored the first admin key when the run ends, untold: the way out is told instead."""
    said: list[str] = []
    cutter.is_after = True
    assert "PutItem" in cut_everywhere(cutter, checkout, said)
    assert first_keys(said) == []
    assert any("--new-admin-key" in line for line in said)
    key, _ = issue_key(wiring.api_ports(), name="admin, made at AWS", verbs=VERBS)
    assert_deployed(key)


def test_upgrade_and_rollback_keep_caps_keys_and_groups(cutter: Cutter, checkout: Path) -> None:
    said: list[str] = []
    key = run(cutter, checkout, said)["admin_key"]
    ports = wiring.api_ports()
    ports.ledger.set_caps({"caps_microusd_per_hour": 7_000_000})  # by `ballast update account`
    signing_key = ports.signer.newest().key_id
    never = Caps(usd_per_hour=None)
    again = run(cutter, checkout, said, caps=never, complete_caps=_asked, vast_key=None)
    assert "admin_key" not in again
    wiring.reset()
    ports = wiring.api_ports()
    assert ports.ledger.account().caps_microusd_per_hour == 7_000_000
    assert ports.signer.newest().key_id == signing_key
    assert check_key(ports, KeyMemory(), key, ports.clock.now()).may("admin")
    assert_undeploy_refuses_while_machines_live(session(cutter))


def _asked(_caps: Caps) -> Caps:
    raise AssertionError("the caps of a deployment that has some are not asked for again")


def test_the_command_line_s_stage_wins_over_the_environment(
    cutter: Cutter, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cutter, checkout, [])
    monkeypatch.setenv("BALLAST_STAGE", "prod")  # has no tables
    wiring.reset()
    assert bootstrap("dev", Caps()) is None
    with pytest.raises(DeployError, match="not in"):
        run(cutter, checkout, [], stage="nowhere")


def test_undeploy_refuses_while_a_rental_is_not_settled(cutter: Cutter, checkout: Path) -> None:
    from chalicelib.core.scaling.facts import group_caps
    from chalicelib.ports.ledger import IntentState, RentIntent
    from fakes.worlds.world import World

    run(cutter, checkout, [])
    ledger = wiring.api_ports().ledger
    lease = ledger.take_lease("test", 1.0, 60.0)
    assert lease is not None
    intent = RentIntent(
        token="0" * 16 + "AAAAAAAA",
        endpoint_id=1,
        autogroup_id=2,
        state=IntentState.PLANNED,
        planned_at=1.0,
        offer_id=3,
        machine_id=4,
        gpu_name="RTX 4090",
        num_gpus=1,
        usd_per_hour=0.3,
        reserved_microusd_per_hour=300_000,
    )
    ledger.reserve(lease.fence, intent, group_caps(World().add_group()), 1.0)
    with pytest.raises(DeployError, match="not settled"):
        undeploy("dev", session(cutter), list[str]().append, root=checkout)
