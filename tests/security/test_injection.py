"""Texts that a shell would run stay texts: launch arguments, templates, the launch script."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from ballast.templates import TemplateError, load_template, onstart
from chalicelib.adapters.vast.requests import body_of_create
from chalicelib.ports.marketplace import CreateRequest, RefusedError
from chalicelib.wire.launch_args import LaunchArgs, LaunchArgsError, parse_launch_args
from fakes.market.market_templates import parse_docker_flags

MARK = "pwned"
SHELL_TRICKS = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "| touch pwned",
    "|| touch pwned",
    "&& touch pwned",
    "& touch pwned",
    "> pwned",
    "< /etc/passwd > pwned",
    "\ntouch pwned\n",
    "\r\ntouch pwned",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "\\'; touch pwned; \\'",
    "${IFS}touch${IFS}pwned",
    "$IFS$9touch$IFS$9pwned",
    "${x:=$(touch pwned)}",
    "$((x[$(touch pwned)]))",
    "x[$(touch pwned)]",
    "{touch,pwned}",
    "<(touch pwned)",
    "eval touch pwned",
    "() { :;}; touch pwned",
    "--privileged -v /:/host",
    "-e MASTER_TOKEN=x",
    "a -e REPORT_ADDR=https://evil.example",
    "-p 22:22 --cap-add=ALL",
    "%n%s%x",
    "$PATH ~ * ? [a-z] !!",
    "../../../etc/passwd",
    '","env":{"MASTER_TOKEN":"x"},"x":"',
    "\u2028touch pwned",
    "\u202etouch pwned",
)


@pytest.mark.parametrize("trick", SHELL_TRICKS)
def test_launch_arguments_pass_a_trick_as_it_is_or_refuse_it(trick: str) -> None:
    flags = f"-e MODEL_ID={shlex.quote(trick)}"
    text = f"--env {shlex.quote(flags)} --onstart-cmd {shlex.quote(trick)}"
    try:
        args = parse_launch_args(text)
        body = create_body(trick, args)
    except (LaunchArgsError, RefusedError):
        return
    assert dict(args.env) == {"MODEL_ID": trick}
    assert args.extra == {}
    sent = json.loads(json.dumps(body))
    assert sent["env"] == {"MODEL_ID": trick}
    assert sent["label"] == f"{trick} - 0"


def create_body(group_name: str, args: LaunchArgs) -> dict[str, object]:
    """What Vast is sent for these arguments."""
    request = CreateRequest(
        offer_id=1,
        label=f"{group_name} - 0",
        template_hash="abc",
        disk_gb=16.0,
        env=args.env,
        onstart=args.onstart,
    )
    return body_of_create(request)


@pytest.mark.parametrize("trick", SHELL_TRICKS)
def test_an_image_is_never_a_trick(trick: str) -> None:
    for image in (trick, f"tgi:1{trick}"):
        if image == "tgi:1../../../etc/passwd":
            continue  # characters that image names have; it is sent as a JSON string all the same
        with pytest.raises(LaunchArgsError):
            parse_launch_args(f"--image {shlex.quote(image)}")


@pytest.mark.parametrize("trick", SHELL_TRICKS)
def test_a_template_s_flags_say_what_was_meant_or_nothing(trick: str) -> None:
    template = load_template("tgi")
    try:
        request = template.to_request({template.model_variable: trick}, "0" * 64)
    except TemplateError:
        assert any(c in trick for c in "\n\r\0")
        return
    plain = template.to_request({template.model_variable: "m"}, "0" * 64)
    meant = parse_docker_flags(str(plain["env"])) | {template.model_variable: trick}
    assert parse_docker_flags(str(request["env"])) == meant
    assert {**request, "env": ""} == {**plain, "env": ""}


@pytest.mark.parametrize("trick", SHELL_TRICKS)
def test_the_launch_script_runs_no_value_of_its_environment(trick: str, tmp_path: Path) -> None:
    """It fails and says so; in place of the pause after that it is ended."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, does in (("curl", "cat >/dev/null; exit 7"), ("sleep", "kill -9 $PPID")):
        (tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (tools / name).chmod(0o755)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    names = ("REPORT_ADDR", "BUNDLE_SHA256", "MASTER_TOKEN", "CONTAINER_ID", "REPORT_EVERY")
    for wrap in (f"{trick}", f"https://w:{trick}@host/", trick.ljust(64, "0")[:64]):
        done = subprocess.run(
            ["/bin/sh", "-c", onstart()],
            cwd=workspace,
            env={
                **dict.fromkeys(names, wrap),
                "WORKSPACE_DIR": str(workspace),
                "PATH": f"{tools}:{os.environ['PATH']}",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0
        assert not list(tmp_path.rglob(MARK))


def test_the_script_s_harness_would_see_a_trick_work(tmp_path: Path) -> None:
    subprocess.run(
        ["/bin/sh", "-c", f"eval {shlex.quote(SHELL_TRICKS[0])}"], cwd=tmp_path, check=False
    )
    assert list(tmp_path.rglob(MARK))
