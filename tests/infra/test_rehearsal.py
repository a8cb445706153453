"""`make deploy`, again, and `make undeploy`: real but for the cloud, a corrected moto server."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.api import lint_file
from moto.server import ThreadedMotoServer

from chalicelib import wiring
from chalicelib.core.model.worker import Worker
from infra.account import Aws, DeployError
from infra.bootstrap import Caps
from infra.deploy import deploy
from infra.functions import function_names, run_chalice
from infra.options import Options
from infra.undeploy import undeploy
from tests.infra.test_stacks import no_pause
from tests.security.canaries import Canary, Evidence

OWNERS_SECRET = "canary-in-the-checkout"
ROOT = Path(__file__).parent.parent.parent
FUNCTIONS = set(function_names("dev"))
FEW = ("cffi", "pycparser")
"""Of what is locked: one package that is built for the functions' processor, and one that is not.
All of them are packed, uploaded and trimmed again and again in the long run."""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty account behind an endpoint on 127.0.0.1."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in [n for n in os.environ if n.startswith("BALLAST_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    wiring.reset()
    yield Aws(boto3.Session(), no_pause)
    wiring.reset()
    server.stop()


@pytest.fixture(params=["few", pytest.param("all", marks=pytest.mark.long)])
def checkout(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What `chalice deploy` needs of the project, so that its records stay out of the real one."""
    shutil.copy(ROOT / "app.py", tmp_path / "app.py")
    locked = (ROOT / "requirements.txt").read_text()
    if request.param == "few":
        blocks = re.split(r"^(?=\S)", locked, flags=re.MULTILINE)
        locked = "".join(block for block in blocks if block.startswith(FEW))
        assert locked.count("==") == len(FEW)
    (tmp_path / "requirements.txt").write_text(locked)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "chalicelib", tmp_path / "chalicelib", ignore=ignored)
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".env").write_text(f"VAST_API_KEY={OWNERS_SECRET}\n")
    for path in (ROOT / ".chalice").glob("*.json"):
        shutil.copy(path, tmp_path / ".chalice" / path.name)
    wheels = ROOT / ".venv" / "wheels"
    if (wheels / ".installed").exists():  # by `make test`: Chalice's pip need not ask an index
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path


def options(checkout: Path, *, split: bool) -> Options:
    return Options(
        stage="dev",
        caps=Caps(usd_per_hour=1.5, usd_per_day=10, usd_per_month=100),
        split=split,
        edge=True,
        ops=True,
        slim=True,
        protect_tables=False,
        vast_key=lambda: "vast-key-canary",
        root=checkout,
    )


def policy_of(aws: Aws, function: str) -> str:
    role = aws.client("lambda").get_function(FunctionName=function)["Configuration"]["Role"]
    name = role.rsplit("/", 1)[1]
    iam = aws.client("iam")
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    assert len(names) == 1
    document = iam.get_role_policy(RoleName=name, PolicyName=names[0])["PolicyDocument"]
    return json.dumps(document)


def test_deploy_redeploy_and_undeploy(cloud: Aws, checkout: Path) -> None:
    said: list[str] = []
    stray = checkout / "chalicelib" / ".env"
    stray.write_text(f"VAST_API_KEY={OWNERS_SECRET}\n")
    with pytest.raises(DeployError, match=r"chalicelib/\.env"):
        deploy(options(checkout, split=True), cloud, said.append)
    assert cloud.client("dynamodb").list_tables()["TableNames"] == []
    stray.unlink()
    first = deploy(options(checkout, split=True), cloud, said.append)
    assert first["admin_key"].startswith("blk.")
    assert_resources(cloud)
    assert_no_secret_was_shipped(cloud, checkout, first["admin_key"])

    second = deploy(options(checkout, split=True), cloud, said.append)
    assert "admin_key" not in second  # shown once
    assert second["url"] == first["url"]
    assert_resources(cloud)
    assert "vast-key-canary" not in "\n".join(said)

    assert_packages_for_cloudformation(checkout)
    assert_undeploy_refuses_while_machines_live(cloud)
    undeploy("dev", cloud, said.append, root=checkout)
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("apigatewayv2").get_apis()["Items"] == []
    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    assert "ballast-dev-ledger" in tables  # data is kept unless the owner says otherwise


def assert_resources(aws: Aws) -> None:
    functions = {f["FunctionName"]: f for f in aws.client("lambda").list_functions()["Functions"]}
    assert set(functions) == FUNCTIONS
    scaler: Any = functions["ballast-dev-scaler"]["Environment"]["Variables"]
    assert scaler["BALLAST_ROLE"] == "scaler"
    assert wiring.api_ports().receivers.topic().endswith("ballast-dev-alerts")
    assert functions["ballast-dev-hot"]["Architectures"] == ["arm64"]
    readers = {n for n in FUNCTIONS if "secretsmanager:GetSecretValue" in policy_of(aws, n)}
    assert readers == {"ballast-dev-scaler", "ballast-dev-scaling_loop"}
    signers = {n for n in FUNCTIONS if "UnwrapSigning" in policy_of(aws, n)}
    assert signers == {"ballast-dev-hot"}
    secret = aws.client("secretsmanager").get_secret_value(SecretId="ballast-dev/vast-api-key")
    assert secret["SecretString"] == "vast-key-canary"
    schedules = aws.client("events").list_rules()["Rules"]
    assert [rule["ScheduleExpression"] for rule in schedules] == ["rate(1 minute)"]
    assert len(aws.client("cloudwatch").describe_alarms()["MetricAlarms"]) >= 8
    account = wiring.api_ports().ledger.account()
    assert account.caps_microusd_per_hour == 1_500_000
    assert account.public_url.startswith("https://")


def assert_no_secret_was_shipped(aws: Aws, checkout: Path, admin_key: str) -> None:
    """Not in a package, a function's environment or a stack, though the checkout has some."""
    shipped = Evidence()
    packages = [*checkout.glob(".chalice/deployments/*.zip"), checkout / "out" / "slim.zip"]
    assert len(packages) >= 2
    for package in packages:
        shipped.add(package.name, package.read_bytes())
    for name in FUNCTIONS:
        known = aws.client("lambda").get_function_configuration(FunctionName=name)
        shipped.add(name, known["Environment"])
    for stack in ("core", "edge", "ops"):
        template = aws.client("cloudformation").get_template(StackName=f"ballast-dev-{stack}")
        shipped.add(stack, template["TemplateBody"])
    canaries = [
        Canary("Vast key", b"vast-key-canary"),
        Canary("admin key", admin_key.rpartition(".")[2].encode()),
        Canary("the owner's file", OWNERS_SECRET.encode()),
    ]
    assert not shipped.leaks(canaries)
    shipped.add("planted", (checkout / ".env").read_bytes())
    assert shipped.leaks(canaries) == {("planted", "the owner's file")}


def assert_packages_for_cloudformation(checkout: Path) -> None:
    """The CI path's template lints clean and names the functions as policies and pokes do."""
    merge = ["--merge-template", str(ROOT / "infra" / "merge.json"), "out"]
    run_chalice("package", "dev", list[str]().append, root=checkout, options=merge)
    template = checkout / "out" / "sam.json"
    assert lint_file(template) == []
    resources = json.loads(template.read_text())["Resources"].values()
    functions = [r["Properties"] for r in resources if r["Type"] == "AWS::Serverless::Function"]
    names = {f["FunctionName"]["Fn::Sub"].replace("${Stage}", "dev") for f in functions}
    assert names == FUNCTIONS


def assert_undeploy_refuses_while_machines_live(cloud: Aws) -> None:
    from chalicelib.core.model.endpoint_group import EndpointGroup

    ports = wiring.api_ports()
    ports.groups.add_group(EndpointGroup(endpoint_id=7, name="llm", created_at=1.0))
    ports.workers.add(Worker(endpoint_id=7, instance_id=99, autogroup_id=1, created_at=1.0))
    with pytest.raises(DeployError, match="99"):
        undeploy("dev", cloud, list[str]().append)
    ports.workers.remove(7, 99)


def test_a_failure_of_chalice_ends_the_deploy(tmp_path: Path) -> None:
    """Its command line tells of one by the value it returns, not by an exit status of its own."""
    with pytest.raises(DeployError, match="chalice deploy failed"):
        run_chalice("deploy", "dev", list[str]().append, root=tmp_path)
