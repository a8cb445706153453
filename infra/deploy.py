"""`make deploy STAGE=…`: the whole of Ballast into the AWS account of the current credentials.

Steps, each safe to repeat: core stack → Vast key → `chalice deploy` → slim code → first keys, caps
→ edge stack → operations stack. A run that was interrupted is resumed by running it again. Nothing
needs the console. `--no-functions` is for functions that CloudFormation made (docs/aws.md, CI).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.errors import PortError
from infra import policies
from infra.bootstrap import Caps, bootstrap
from infra.options import ROOT, Options, parse
from infra.package import slim, stray_files
from infra.stacks import Say, deploy_stack, find_stack
from workers.bundle import write_bundle

_CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"  # no __main__; 2 = failed
LAMBDA_SUFFIXES = ("", "-hot", "-reports", "-scaler", "-scaling_loop")


class DeployError(Exception):
    """The deployment cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Aws:
    """Clients of one session."""

    session: boto3.Session

    def client(self, service: str) -> Any:
        """A client; typed loosely because infra uses many services a little."""
        return self.session.client(service)  # type: ignore[call-overload]

    def account(self) -> str:
        """The account number.

        Raises:
            DeployError: no usable credentials.
        """
        try:
            return str(self.client("sts").get_caller_identity()["Account"])
        except Exception as error:
            raise DeployError(
                f"AWS does not know these credentials ({error}); set AWS_PROFILE or run `aws login`"
            ) from error


def deploy(
    options: Options, aws: Aws, say: Say, chalice: Callable[..., None] | None = None
) -> Mapping[str, str]:
    """Deploy everything; gives `url` and, the first time, `admin_key`.

    `chalice` stands in for `run_chalice`.

    Raises:
        DeployError: a step cannot be done; those before it stay done.
    """
    check_checkout(options.stage, options.root)
    say(f"account {aws.account()}, region {aws.session.region_name}, stage {options.stage}")
    core = f"ballast-{options.stage}-core"
    deploy_stack(
        aws.client("cloudformation"),
        core,
        "core.yaml",
        {
            "Stage": options.stage,
            "ProtectTables": "true" if options.protect_tables else "false",
        },
        say,
    )
    outputs = find_stack(aws.client("cloudformation"), core) or {}
    ensure_vast_key(aws, options, say)
    if options.functions:
        deploy_functions(options, aws, say, chalice or run_chalice)
    limit_async_events(aws, options.stage)
    admin_key = bootstrap(options.stage, options.caps, complete=options.complete_caps)
    if admin_key:  # told at once: a run that is interrupted later could not tell it again
        say(f"first admin key, shown once: {admin_key}")
    else:
        say("an admin key exists; was it lost? `python -m infra.bootstrap --new-admin-key`")
    url = deploy_edge(aws, options, say) if options.edge else chalice_url(options)
    bootstrap(options.stage, Caps(), public_url=url)
    topic_arn = outputs.get("AlertsTopicArn", "")
    tell_scaler(aws, options.stage, {"BALLAST_NOTIFY_TOPIC_ARN": topic_arn})
    if options.ops:
        deploy_ops(aws, options, topic_arn, say)
    return {"url": url, **({"admin_key": admin_key} if admin_key else {})}


def deploy_functions(options: Options, aws: Aws, say: Say, chalice: Callable[..., None]) -> None:
    """Policies, the workers' bundle, Chalice's functions, and then the same code made faster."""
    split = options.split and options.edge
    policies.write(options.stage, split=split, folder=options.root / ".chalice")
    write_bundle(options.root / "chalicelib" / "worker_bundle")
    chalice("deploy", options.stage, say, root=options.root)
    if options.slim:
        slim_code(aws, options, say)


def check_checkout(stage: str, root: Path) -> None:
    """Refuse a stage that `.chalice/config.json` does not know, and files that are no code.

    Raises:
        DeployError: naming the known stages, or the files.
    """
    stages = json.loads((root / ".chalice" / "config.json").read_text())["stages"]
    if stage not in stages:
        raise DeployError(
            f"stage {stage!r} is not in .chalice/config.json (it has {', '.join(sorted(stages))}); "
            "copy one of them under the new name"
        )
    strays = stray_files(root)
    if strays:
        raise DeployError(
            f"these would be shipped with the code: {', '.join(strays[:5])}; move them elsewhere"
        )


def ensure_vast_key(aws: Aws, options: Options, say: Say) -> None:
    """Store the Vast key once; it is never printed and never an argument.

    Raises:
        DeployError: there is none yet and nobody to ask.
    """
    secrets, name = aws.client("secretsmanager"), f"ballast-{options.stage}/vast-api-key"
    try:
        secrets.get_secret_value(SecretId=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    else:
        return
    if options.vast_key is None:
        raise DeployError(f"secret {name} has no value; run `ballast secret set` or pass --ask")
    key = options.vast_key().strip()
    if not key:
        raise DeployError("the Vast API key is empty")
    try:
        secrets.put_secret_value(SecretId=name, SecretString=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        secrets.create_secret(Name=name, SecretString=key)
    say(f"stored the Vast key in secret {name}")


def run_chalice(
    command: str, stage: str, say: Say, *, root: Path = ROOT, options: Sequence[str] = ()
) -> None:
    """Run a Chalice command.

    Raises:
        DeployError: it failed; its output stands above.
    """
    say(f"chalice {command} --stage {stage} …")
    done = subprocess.run(
        [sys.executable, "-c", _CHALICE, command, "--stage", stage, *options],
        cwd=root,
        check=False,
    )
    if done.returncode != 0:
        raise DeployError(f"chalice {command} failed; mend the cause and run the same again")


def chalice_url(options: Options) -> str:
    """The REST API's address, with its stage prefix, from what Chalice recorded.

    Raises:
        DeployError: Chalice deployed nothing from this checkout.
    """
    recorded = options.root / ".chalice" / "deployed" / f"{options.stage}.json"
    if not recorded.exists():
        raise DeployError(f"{recorded} is missing: deploy with the edge, or by `chalice deploy`")
    deployed = json.loads(recorded.read_text())
    apis = [r for r in deployed["resources"] if r["resource_type"] == "rest_api"]
    return str(apis[0]["rest_api_url"]).rstrip("/")


def slim_code(aws: Aws, options: Options, say: Say) -> None:
    """Replace the functions' code by the same code with bytecode and a trimmed botocore."""
    packages = sorted(
        (options.root / ".chalice" / "deployments").glob("*.zip"), key=lambda p: p.stat().st_mtime
    )
    if not packages:
        raise DeployError("chalice left no package in .chalice/deployments")
    target = options.root / "out" / "slim.zip"
    target.parent.mkdir(exist_ok=True)
    slim(packages[-1], target)
    body, client = target.read_bytes(), aws.client("lambda")
    say(f"slim code: {len(body) / 1e6:.1f} MB instead of {packages[-1].stat().st_size / 1e6:.1f}")
    for suffix in LAMBDA_SUFFIXES:
        client.update_function_code(FunctionName=f"ballast-{options.stage}{suffix}", ZipFile=body)
        client.get_waiter("function_updated_v2").wait(
            FunctionName=f"ballast-{options.stage}{suffix}"
        )


def limit_async_events(aws: Aws, stage: str) -> None:
    """Late schedule events and pokes are worthless: no retries, none older than a minute."""
    for suffix in ("-scaler", "-scaling_loop"):
        aws.client("lambda").put_function_event_invoke_config(
            FunctionName=f"ballast-{stage}{suffix}",
            MaximumRetryAttempts=0,
            MaximumEventAgeInSeconds=60,
        )


def tell_scaler(aws: Aws, stage: str, variables: Mapping[str, str]) -> None:
    """Add what only the stacks know to the scaler's environment; Chalice keeps no such values."""
    client = aws.client("lambda")
    for suffix in ("-scaler", "-scaling_loop"):
        name = f"ballast-{stage}{suffix}"
        known = client.get_function_configuration(FunctionName=name)
        environment = known.get("Environment", {}).get("Variables", {})
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**environment, **variables}}
        )
        client.get_waiter("function_updated_v2").wait(FunctionName=name)


def deploy_edge(aws: Aws, options: Options, say: Say) -> str:
    """The HTTP API at the root path; gives its address."""
    arns = {
        parameter: aws.client("lambda").get_function(
            FunctionName=f"ballast-{options.stage}{suffix}"
        )["Configuration"]["FunctionArn"]
        for parameter, suffix in (
            ("ApiFunctionArn", ""),
            ("HotFunctionArn", "-hot"),
            ("ReportsFunctionArn", "-reports"),
        )
    }
    name = f"ballast-{options.stage}-edge"
    domain = {"DomainName": options.domain, "CertificateArn": options.certificate_arn}
    deploy_stack(
        aws.client("cloudformation"),
        name,
        "edge.yaml",
        {"Stage": options.stage, **arns, **domain},
        say,
    )
    outputs = find_stack(aws.client("cloudformation"), name) or {}
    if "Url" not in outputs:
        raise DeployError(f"stack {name} gave no Url; look at its events")
    return outputs["Url"]


def deploy_ops(aws: Aws, options: Options, topic_arn: str, say: Say) -> None:
    """Alarms, dashboard, budget."""
    deploy_stack(
        aws.client("cloudformation"),
        f"ballast-{options.stage}-ops",
        "ops.yaml",
        {
            "Stage": options.stage,
            "AlertsTopicArn": topic_arn,
            "BudgetEmail": options.budget_email,
        },
        say,
    )


def main() -> None:
    """Deploy, and show the first admin key once."""
    try:
        result = deploy(parse(), Aws(boto3.Session()), print)
    except (DeployError, ClientError, BotoCoreError, PortError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"Ballast answers at {result['url']}")
    if "admin_key" in result:
        print("next: export BALLAST_URL and BALLAST_API_KEY, then `ballast doctor`")


if __name__ == "__main__":
    main()
