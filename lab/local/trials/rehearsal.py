"""`python -m lab.local rehearse`: the CI path of docs/aws.md, word for word, on an emulator of AWS.

MiniStack makes the stacks, runs each function as a process under the rights of its role, fires the
schedule and serves the REST API; the market is the local one. Its HTTP API speaks only payload
format 2.0, so the edge stack is made and not called.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
import requests

from infra.audit import tracked_files
from infra.bootstrap import Caps, bootstrap
from lab.local.gateway.servers import start_aws
from lab.local.processes.children import LOOPBACK, ChildError, Children, listen, url_of
from lab.local.system.environment import DUMMY_VAST_KEY, base_environment, refuse_real_credentials
from lab.local.system.owner import MarketView, NotYetError, Owner, RefusedError, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates

ROOT = Path(__file__).parents[3]
AWS_COMMAND = ROOT / ".venv" / "awscli" / "bin"
STAGE = "prod"  # as the guide writes it
BUCKET = "ballast-artifacts"
TIME_SCALE = 20.0  # of the market's delays
ADMIN_KEY = re.compile(r"blk\.\S+")
USE_TIMEOUT_S = 300.0
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--state", type=Path, help="keep logs and disks in this directory")


def run(arguments: argparse.Namespace) -> int:
    """Rehearse; gives the exit status."""
    refuse_real_credentials(os.environ)
    directory = arguments.state or Path(tempfile.mkdtemp(prefix="ballast-"))
    children = Children(directory / "logs")
    try:
        rehearse(directory.absolute(), children)
    except (ChildError, NotYetError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        children.stop()
        if arguments.state is None:
            shutil.rmtree(directory)
    return 0


def rehearse(directory: Path, children: Children) -> None:
    """Deploy, rent, serve, return, remove.

    Raises:
        subprocess.CalledProcessError: a line of the guide failed.
        NotYetError: something did not come about in time.
    """
    aws_url = start_emulator(directory, children)
    environment = owners_environment(aws_url)
    with listen() as market:
        market_url = url_of(market)
        arguments = ["-m", "lab.local.market.marketplace_server", "--fd", str(market.fileno())]
        arguments += ["--time-scale", str(TIME_SCALE), "--state", str(directory / "instances")]
        arguments += ["--api-key", DUMMY_VAST_KEY]
        children.start("market", arguments, environment, fd=market.fileno())
    checkout = copy_checkout(directory / "checkout", market_url)
    os.environ.update(environment)
    environment["BALLAST_VAST_URL"] = market_url  # `secret set` asks what the key may do
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    told = "".join(run_line(line, checkout, environment) for line in guide_lines())
    (admin_key,) = ADMIN_KEY.findall(told)
    url = rest_api_url(aws_url)
    bootstrap(STAGE, Caps(), public_url=url)  # in place of the edge's
    use(Owner(url, admin_key), MarketView(market_url))
    children.check()
    run_line(f".venv/bin/python -m infra.undeploy --stage {STAGE}", checkout, environment)
    left = boto3.client("lambda").list_functions()["Functions"]
    print(f"rehearsed; functions left: {len(left)}")


def start_emulator(directory: Path, children: Children) -> str:
    """MiniStack, holding every caller to its role; its address."""
    with listen() as listener:
        url = url_of(listener)
        environment = owners_environment(url) | {
            "AUTH": "true",
            "MINISTACK_HOST": LOOPBACK,
            "GATEWAY_PORT": url.rpartition(":")[2],  # told to the functions
            "HOME": str(directory),
        }
        start_aws(children, listener.fileno(), environment, has_ministack=True)
    return url


def owners_environment(aws_url: str) -> dict[str, str]:
    """What the owner's own commands run in; nothing that names a deployment."""
    environment = base_environment(
        os.environ, aws_url=aws_url, lambda_url=aws_url, market_url="", url=""
    )
    path = f"{AWS_COMMAND}{os.pathsep}{environment['PATH']}"
    kept = {n: v for n, v in environment.items() if not n.startswith(("BALLAST_", "POWERTOOLS_"))}
    return kept | {"PATH": path}


def copy_checkout(target: Path, market_url: str) -> Path:
    """The tracked files, with functions that run on this machine and rent at the local market."""
    for source in tracked_files(ROOT):
        copied = target / source.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copied)
    (target / ".venv").symlink_to(ROOT / ".venv")
    plain_alarms(target / "infra" / "ops.yaml")
    path = target / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    stage = config["stages"][STAGE]
    stage["lambda_architecture"] = MACHINES[platform.machine()]
    stage["environment_variables"] |= {
        "BALLAST_VAST_URL": market_url,
        "BALLAST_ALLOW_LOOPBACK_WORKERS": "yes",
        "BALLAST_PACING_SCALE": str(1 / TIME_SCALE),
    }
    path.write_text(json.dumps(config))
    return target


def guide_lines() -> list[str]:
    """The commands of the guide's CI path."""
    guide = (ROOT / "docs" / "aws.md").read_text()
    block = guide.partition("## CI path")[2].partition("```sh\n")[2].partition("```")[0]
    return block.replace("YOUR-BUCKET", BUCKET).splitlines()


def run_line(line: str, checkout: Path, environment: Mapping[str, str]) -> str:
    """One command in a shell; gives what it printed.

    Raises:
        subprocess.CalledProcessError: it failed; what it printed stands above.
    """
    print(f"$ {line}", flush=True)
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=checkout,
        env=dict(environment),
        input=DUMMY_VAST_KEY + "\n",  # for the one command that asks
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        start_new_session=True,  # without a terminal, so that it asks its input
    )
    if done.returncode != 0:
        print(done.stdout[-5000:])
    elif "infra.policies" in line:
        loosen_kms(checkout / ".chalice")
    done.check_returncode()
    return done.stdout


def loosen_kms(folder: Path) -> None:
    """Let the KMS statements hold for every key: the emulator knows neither of their conditions."""
    for path in folder.glob(f"policy-{STAGE}-*.json"):
        document: Any = json.loads(path.read_text())
        for statement in document["Statement"]:
            if statement["Sid"].startswith("Unwrap"):
                statement.pop("Condition")
                statement["Resource"] = "*"
        path.write_text(json.dumps(document))


def plain_alarms(template: Path) -> None:
    """Let an alarm on a share of rounds watch the bad ones: the emulator knows no metric math."""
    of_share = re.compile(
        r"      Metrics:\n(?:        .*\n)*?.*MetricName: (\w+),.*\n(?:        .*\n)+"
    )
    plain = r"      Namespace: Ballast\n      MetricName: \1\n      Statistic: SampleCount\n"
    text, n = of_share.subn(plain + "      Period: 300\n", template.read_text())
    if not n:
        raise ChildError(f"{template.name} has no such alarm any more: drop this")
    template.write_text(text)


def rest_api_url(aws_url: str) -> str:
    """Where the emulator answers for the REST API of the functions' stack."""
    stack = boto3.client("cloudformation").describe_stacks(StackName=f"ballast-{STAGE}")["Stacks"]
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack[0]["Outputs"]}
    return f"{aws_url}/_aws/execute-api/{outputs['RestAPIId']}/api"


def use(owner: Owner, market: MarketView) -> None:
    """Rent a worker, let it answer a request, and return it.

    Raises:
        NotYetError: something did not come about in time.
    """
    template = register_templates(market.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]
    wishes = {"min_load": 1.0, "cold_workers": 0, "max_workers": 1}
    endpoint_id = wait_until(
        "a group",
        unless_throttled(lambda: owner.create_group("rehearsal", **wishes)),
        USE_TIMEOUT_S,
    )

    def autogroup() -> int:  # asks the scaler, whose first start may outlast the asker's time-out
        with suppress(RefusedError, requests.Timeout):
            return owner.create_autogroup("rehearsal", template, test_workers=1)
        return 0

    wait_until("an autogroup", autogroup, USE_TIMEOUT_S)
    print("waiting for a worker: the schedule fires each minute", flush=True)
    request: dict[str, Any] = {"endpoint": "rehearsal", "cost": 8}

    def ticket() -> dict[str, Any]:
        reply: dict[str, Any] = owner.call("POST", "/route/", request)
        request["request_idx"] = reply["request_idx"]
        return reply if "url" in reply else {}

    granted = wait_until(
        "a ticket",
        unless_throttled(ticket),
        USE_TIMEOUT_S,
        shown=lambda: owner.workers(endpoint_id),
    )
    payload = {"inputs": "hello", "parameters": {"max_new_tokens": 8}}
    answer = requests.post(
        f"{granted['url']}/generate", json={"auth_data": granted, "payload": payload}, timeout=30
    )
    answer.raise_for_status()
    print(f"worker {granted['url']} answered: {answer.json()['generated_text'][:60]!r}", flush=True)
    path = f"/api/v0/endptjobs/{endpoint_id}/"
    deleted = unless_throttled(lambda: owner.call("DELETE", path))
    wait_until("the group given up", deleted, USE_TIMEOUT_S)
    wait_until("nothing rented", lambda: not market.instances(), USE_TIMEOUT_S)
    forgotten = unless_throttled(lambda: not owner.groups())
    wait_until("the group forgotten", forgotten, USE_TIMEOUT_S)


def unless_throttled(look: Callable[[], Any]) -> Callable[[], Any]:
    """The REST API beside an edge is a narrow door: whoever it keeps out looks again."""

    def looked() -> Any:
        try:
            return look()
        except RefusedError as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            return None

    return looked
