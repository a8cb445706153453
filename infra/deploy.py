"""`make deploy STAGE=…`: the whole of Ballast into the AWS account of the current credentials.

Steps, each safe to repeat: core stack → Vast key → `chalice deploy` → slim code → first keys, caps
→ operations stack → edge stack. A run that was interrupted, also inside a stack, is resumed by
running it again. `python -m infra.deploy core --stage …` is all of it but the functions and the
edge: what a plain `chalice deploy` needs, before or after it. Nothing needs the console.
`--no-functions` is for functions that CloudFormation made (docs/aws.md, CI).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.errors import PortError
from chalicelib.ports.notifier import NotifierError
from chalicelib.services.market.lanes import N_LANES
from chalicelib.services.owner.receivers import parse_receiver
from chalicelib.wire.json_body import WireError
from infra import policies
from infra.account import Aws, DeployError, in_full
from infra.bootstrap import (
    Caps,
    bootstrap,
    make_secrets,
    ports_of,
    remember_topic,
    renew_directory,
)
from infra.ceilings import warming_advice
from infra.core_stack import deploy_core, ensure_vast_key
from infra.functions import (
    check_record,
    concurrency_quota,
    ensure_log_groups,
    functions_exist,
    quota_advice,
    rest_api_id,
    rest_url,
    run_chalice,
    settle_functions,
    slim_code,
    throttle_rest_api,
)
from infra.lanes import lane_paths, with_lanes
from infra.options import Options, parse
from infra.package import stray_files
from infra.stacks import (
    Say,
    StackError,
    deploy_stack,
    find_stack,
    read_template,
    stack_parameter,
)
from infra.throttles import DEFAULT_PEAK_PER_S, Throttles, throttles_for, told, told_of_rest
from workers.bundle import write_bundle

STAGE_NAMES = "[a-z][a-z0-9]{0,15}"
"""As infra/core.yaml has it."""


def deploy(
    options: Options, aws: Aws, say: Say, chalice: Callable[..., None] | None = None
) -> Mapping[str, str]:
    """Deploy everything that is asked for; gives `url` and, the first time, `admin_key`.

    `chalice` stands in for `run_chalice`.

    Raises:
        DeployError: a step cannot be done; those before it stay done.
        StackError: CloudFormation could not bring a stack up.
    """
    check_checkout(options.stage, options.root)
    check_record(aws, options.stage, options.root)
    say(f"account {aws.account()}, region {aws.session.region_name}, stage {options.stage}")
    standing = "" if options.edge else standing_edge(aws, options.stage)
    has_edge = options.edge or bool(standing)
    throttles = state_throttles(aws, options, say, has_edge=has_edge)
    outputs = deploy_core(aws, options.stage, say, protect=options.protect_tables)
    ensure_vast_key(aws, options.stage, options.vast_key, say, is_needed=options.functions)
    ensure_log_groups(aws, options.stage)
    n_former = make_secrets(options.stage)  # before the functions that need them
    if n_former:
        say(
            f"keys of the former kind go on, and may be replaced when you can: {n_former} "
            "(`ballast update key KEYID --rotate`)"
        )
    if options.functions:
        deploy_functions(options, aws, say, chalice or run_chalice)
    has_functions = functions_exist(aws, options.stage)
    if has_functions:
        settle_functions(aws, options.stage)
        throttle_rest_api(aws, options.stage, options.root, throttles.rest)
        renew_directory(options.stage)
    admin_key = bootstrap(options.stage, options.caps, complete=options.complete_caps)
    if admin_key:  # told at once: a run that is interrupted later could not tell it again
        say(f"first admin key of stage {options.stage}, shown once: {admin_key}")
    else:
        say(
            "an admin key exists; was it lost? "
            f"`python -m infra.bootstrap --stage {options.stage} --new-admin-key`"
        )
    remember_topic(options.stage, outputs["AlertsTopicArn"])
    topic_arn = outputs["AlertsTopicArn"]
    if options.ops:
        doors = {"HasEdge": str(has_edge).lower(), "FloodPer5Minutes": throttles.flood}
        deploy_ops(aws, options, topic_arn, doors, say, has_functions=has_functions)
    ensure_receiver(options, say)
    url = standing
    if not has_functions:
        say(
            f"no functions yet: `chalice deploy --stage {options.stage}` makes them; then this "
            "once more, so that machines learn where to report"
        )
    else:
        url = standing or _address(aws, options, throttles, topic_arn, say)
        bootstrap(options.stage, Caps(), public_url=url, n_lanes=lanes_of(aws, options.stage, url))
    return {"url": url, **({"admin_key": admin_key} if admin_key else {})}


def ensure_receiver(options: Options, say: Say) -> None:
    """Ask who is told of trouble, unless somebody is; the others hear how to say it later."""
    receivers = ports_of(options.stage).receivers
    if receivers.receivers():
        return
    address = options.mail().strip() if options.mail else ""
    if not address:
        say("nobody is told of trouble yet: `ballast notify add email|slack|discord|webhook …`")
        return
    try:
        receivers.add(parse_receiver({"channel": "email", "address": address}))
    except (WireError, NotifierError) as error:
        say(f"{error}; nobody is told of trouble yet: `ballast notify add email …`")
    else:
        say(f"AWS mails {address}: told of trouble once the link in it was followed")


def _address(aws: Aws, options: Options, throttles: Throttles, topic_arn: str, say: Say) -> str:
    """Where Ballast answers; "" if another checkout made the functions and nothing else knows."""
    if options.edge:
        return deploy_edge(aws, options, throttles, topic_arn, say)
    if options.functions or rest_api_id(aws, options.stage, options.root):
        return rest_url(aws, options.stage, options.root)
    say(
        f"the functions' address is not known here (.chalice/deployed/{options.stage}.json is "
        "missing): run this where `chalice deploy` ran"
    )
    return ""


def standing_edge(aws: Aws, stage: str) -> str:
    """The address of an edge that an earlier deployment made, which this one leaves as it is."""
    return (find_stack(aws.client("cloudformation"), f"ballast-{stage}-edge") or {}).get("Url", "")


def lanes_of(aws: Aws, stage: str, url: str) -> int:
    """The lanes of the edge at this address; 0 of another door, or of an edge from before them."""
    known = stack_parameter(aws.client("cloudformation"), f"ballast-{stage}-edge", "LaneRate")
    return N_LANES if known and url == standing_edge(aws, stage) else 0


def state_throttles(aws: Aws, options: Options, say: Say, *, has_edge: bool) -> Throttles:
    """What the peak of requests means for the throttles and the worst sum of a day; tells both."""
    quota = concurrency_quota(aws)
    if advice := quota_advice(quota):
        say(f"warning: {advice}")
    edge = f"ballast-{options.stage}-edge"
    known = stack_parameter(aws.client("cloudformation"), edge, "PeakPerSecond")
    peak = options.peak_per_s or float(known or DEFAULT_PEAK_PER_S)
    try:
        throttles = throttles_for(
            peak, concurrency=quota, has_edge=has_edge, api_quota=options.api_quota
        )
    except ValueError as error:
        raise DeployError(f"--peak: {error}") from error
    if options.edge or not has_edge:
        door = told(throttles, peak) if has_edge else told_of_rest(throttles, peak)
        for line in (*door, warming_advice(options.stage, peak)):
            if line:
                say(line)
    return throttles


def deploy_functions(options: Options, aws: Aws, say: Say, chalice: Callable[..., None]) -> None:
    """Policies, the workers' bundle, Chalice's functions, and then the same code made faster."""
    split = options.split and options.edge
    policies.write(options.stage, split=split, folder=options.root / ".chalice")
    write_bundle(options.root / "chalicelib" / "worker_bundle")
    chalice("deploy", options.stage, say, root=options.root)
    if options.slim:
        slim_code(aws, options.stage, options.root, say)


def check_checkout(stage: str, root: Path) -> None:
    """Refuse a stage that cannot be, or that `.chalice/config.json` does not know, and stray files.

    Raises:
        DeployError: naming the known stages, or the files.
    """
    if not re.fullmatch(STAGE_NAMES, stage):
        raise DeployError(
            f"stage {stage!r}: its name stands in those of tables, functions and roles, so it is a "
            "lower-case letter, then up to 15 lower-case letters or digits"
        )
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


def deploy_edge(aws: Aws, options: Options, throttles: Throttles, topic_arn: str, say: Say) -> str:
    """The HTTP API at the root path; gives its address.

    Raises:
        DeployError: the stack gave none.
        StackError: CloudFormation could not.
    """
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
    name, cloudformation = f"ballast-{options.stage}-edge", aws.client("cloudformation")
    parameters: dict[str, str | None] = {
        "Stage": options.stage,
        "AlertsTopicArn": topic_arn,
        **arns,
        **throttles.parameters(),
        # What is not said again stays as it was.
        "PeakPerSecond": f"{options.peak_per_s:g}" if options.peak_per_s else None,
        "DomainName": options.domain,
        "CertificateArn": options.certificate_arn,
        "AccessLogArn": options.access_log_arn(aws.account(), aws.session.region_name),
    }
    paths = lane_paths(ports_of(options.stage).secrets)
    template = with_lanes(read_template("edge.yaml"), paths)
    deploy_stack(cloudformation, name, template, parameters, say, aws.pause)
    outputs = find_stack(cloudformation, name) or {}
    if "Url" not in outputs:
        raise DeployError(f"stack {name} gave no Url; look at its events")
    return outputs["Url"]


def deploy_ops(
    aws: Aws,
    options: Options,
    topic_arn: str,
    doors: Mapping[str, str],
    say: Say,
    *,
    has_functions: bool,
) -> None:
    """Alarms, dashboard, budget, and the notifier's place on the alerts' topic.

    `doors`: the parameters that say where requests come in.
    """
    notifier = f"ballast-{options.stage}-notifier"
    found = aws.client("lambda").get_function(FunctionName=notifier) if has_functions else {}
    arn = str(found["Configuration"]["FunctionArn"]) if found else ""
    parameters: dict[str, str | None] = {
        "Stage": options.stage,
        "AlertsTopicArn": topic_arn,
        "NotifierArn": arn,
        **doors,
        "ConcurrencyAlarm": str(round(0.8 * concurrency_quota(aws))),
        "BudgetEmail": options.budget_email,
    }
    name = f"ballast-{options.stage}-ops"
    template = read_template("ops.yaml")
    deploy_stack(aws.client("cloudformation"), name, template, parameters, say, aws.pause)


def main() -> None:
    """Deploy, and show the first admin key once."""
    options = parse()
    try:
        result = deploy(options, Aws(boto3.Session()), print)
    except (
        DeployError, StackError, ClientError, BotoCoreError, PortError, ValueError
    ) as error:  # fmt: skip
        sys.exit(f"error: {in_full(error)}")
    if result["url"]:
        print(f"Ballast ({options.stage}) answers at {result['url']}")
    if "admin_key" in result:
        print(f"next: `ballast login`, then `ballast doctor --stage {options.stage}`")


if __name__ == "__main__":
    main()
