"""The Lambda functions and Chalice's REST API: what Chalice leaves unset or wide open."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import ClientError

from infra.account import Aws, DeployError
from infra.options import ROOT
from infra.package import slim
from infra.stacks import Say, find_stack
from infra.throttles import SMALL_CONCURRENCY, Throttle

_CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"  # no __main__; 2 = failed
LAMBDA_SUFFIXES = ("", "-hot", "-reports", "-scaler", "-scaling_loop", "-notifier")
LOG_RETENTION_DAYS = 30
QUOTA_PAGE = "https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384"


def function_names(stage: str) -> list[str]:
    """All functions of a stage."""
    return [f"ballast-{stage}{suffix}" for suffix in LAMBDA_SUFFIXES]


def functions_exist(aws: Aws, stage: str) -> bool:
    """Whether Chalice or CloudFormation has made them: all, for a half-made set is made again."""
    client = aws.client("lambda")
    try:
        for name in function_names(stage):
            client.get_function(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def concurrency_quota(aws: Aws) -> int:
    """Executions that the account may have at once, in this region."""
    limits = aws.client("lambda").get_account_settings()["AccountLimit"]
    return int(limits["ConcurrentExecutions"])


def quota_advice(quota: int) -> str:
    """What the owner should hear of the quota; "" if it is wide enough."""
    if quota >= SMALL_CONCURRENCY:
        return ""
    return (
        f"this account may run {quota} functions at once, all of them together, so a burst of more "
        f"is answered 503; ask for 'Concurrent executions' 1000 at {QUOTA_PAGE} "
        "(free; until then reports and management are held to two at once)"
    )


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


def slim_code(aws: Aws, stage: str, root: Path, say: Say) -> None:
    """Replace the functions' code by the same code with bytecode and a trimmed botocore.

    Raises:
        DeployError: Chalice left no package.
    """
    folder = root / ".chalice" / "deployments"
    packages = sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_mtime)
    if not packages:
        raise DeployError("chalice left no package in .chalice/deployments")
    target = root / "out" / "slim.zip"
    target.parent.mkdir(exist_ok=True)
    slim(packages[-1], target)
    body, client = target.read_bytes(), aws.client("lambda")
    say(f"slim code: {len(body) / 1e6:.1f} MB instead of {packages[-1].stat().st_size / 1e6:.1f}")
    for name in function_names(stage):
        client.update_function_code(FunctionName=name, ZipFile=body)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)


def settle_functions(aws: Aws, stage: str) -> None:
    """What Chalice cannot set: it stays through later `chalice deploy`s.

    Late schedule events and pokes are worthless: no retries, none older than a minute. Lambda's own
    START, END and REPORT lines are off: they cost more than a request's signature (docs/cost.md).
    """
    client = aws.client("lambda")
    for suffix in ("-scaler", "-scaling_loop"):
        client.put_function_event_invoke_config(
            FunctionName=f"ballast-{stage}{suffix}",
            MaximumRetryAttempts=0,
            MaximumEventAgeInSeconds=60,
        )
    for name in function_names(stage):
        client.update_function_configuration(
            FunctionName=name,
            LoggingConfig={
                "LogFormat": "JSON",
                "ApplicationLogLevel": "INFO",
                "SystemLogLevel": "WARN",
            },
        )
        client.get_waiter("function_updated_v2").wait(FunctionName=name)


def ensure_log_groups(aws: Aws, stage: str) -> None:
    """Log groups with retention, whoever made them first: they belong to no stack."""
    client = aws.client("logs")
    for name in log_groups(stage):
        # A function that ran before makes its own, without retention.
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_group(logGroupName=name)
        client.put_retention_policy(logGroupName=name, retentionInDays=LOG_RETENTION_DAYS)


def log_groups(stage: str) -> list[str]:
    """Of the functions, and of the edge for whoever wants its lines."""
    return [*(f"/aws/lambda/{name}" for name in function_names(stage)), f"/ballast/{stage}/edge"]


def rest_api_id(aws: Aws, stage: str, root: Path) -> str:
    """Chalice's REST API: by its own record, else by the functions' stack; "" if there is none."""
    recorded = _record(stage, root)
    if recorded.exists():
        rows = json.loads(recorded.read_text())["resources"]
        return next((str(r["rest_api_id"]) for r in rows if r["resource_type"] == "rest_api"), "")
    outputs = find_stack(aws.client("cloudformation"), f"ballast-{stage}") or {}
    return outputs.get("RestAPIId", "")


def check_record(aws: Aws, stage: str, root: Path) -> None:
    """Chalice takes its record for the account and region at hand, and forgets what it misses.

    Raises:
        DeployError: the stage was deployed from this checkout to another place.
    """
    record = _record(stage, root)
    text = record.read_text() if record.exists() else ""
    known = set(re.findall(r"arn:[\w-]+:lambda:([\w-]+):(\d+):", text))
    here = (aws.session.region_name, aws.account()) if known else None
    for region, account in sorted(known - {here}):
        raise DeployError(
            f"stage {stage} was deployed from this checkout to account {account}, region {region}, "
            f"and these credentials are for account {aws.account()}, region "
            f"{aws.session.region_name}: set AWS_PROFILE and AWS_DEFAULT_REGION for the former, or "
            "give the other a stage of its own"
        )


def _record(stage: str, root: Path) -> Path:
    return root / ".chalice" / "deployed" / f"{stage}.json"


def throttle_rest_api(aws: Aws, stage: str, root: Path, throttle: Throttle) -> None:
    """Chalice's REST API is a second door to the same functions: it has a throttle of its own."""
    api_id = rest_api_id(aws, stage, root)
    if not api_id:
        return
    stages = json.loads((root / ".chalice" / "config.json").read_text())["stages"]
    wanted = {"rateLimit": throttle.rate, "burstLimit": throttle.burst}
    aws.client("apigateway").update_stage(
        restApiId=api_id,
        stageName=stages[stage]["api_gateway_stage"],
        patchOperations=[
            {"op": "replace", "path": f"/*/*/throttling/{name}", "value": str(value)}
            for name, value in wanted.items()
        ],
    )


def rest_url(aws: Aws, stage: str, root: Path) -> str:
    """The REST API's address, with its stage prefix.

    Raises:
        DeployError: there is none.
    """
    api_id = rest_api_id(aws, stage, root)
    if not api_id:
        raise DeployError(
            f"no REST API of stage {stage} is known here (.chalice/deployed/{stage}.json is "
            "missing): deploy with the edge, or by `chalice deploy` from this checkout"
        )
    stages = json.loads((root / ".chalice" / "config.json").read_text())["stages"]
    region = aws.session.region_name
    return (
        f"https://{api_id}.execute-api.{region}.amazonaws.com/{stages[stage]['api_gateway_stage']}"
    )


def existing_log_groups(aws: Aws, stage: str) -> list[str]:
    """Those of the stage that are there."""
    client = aws.client("logs")
    return [
        name
        for name in log_groups(stage)
        for found in client.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        if found["logGroupName"] == name
    ]


def delete_log_groups(aws: Aws, stage: str, say: Say) -> None:
    """Delete what the functions logged."""
    client = aws.client("logs")
    for name in log_groups(stage):
        try:
            client.delete_log_group(logGroupName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
    say("deleted the log groups")
