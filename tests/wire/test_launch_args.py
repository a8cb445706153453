"""launch_args are data: split like a shell's words, checked, and never near a shell."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.launch_args import (
    RESERVED_VARIABLES,
    LaunchArgs,
    LaunchArgsError,
    parse_docker_flags,
    parse_launch_args,
)
from chalicelib.wire.vast import create_body


def test_the_flags_of_the_vendors_command_are_understood() -> None:
    text = (
        "--image ghcr.io/org/img:1.2@sha256:ab --disk 64 --ssh --direct "
        "--env '-e MODEL_ID=meta-llama/x -p 3000:3000 -e \"A=b c\" -p 70000/udp' "
        "--onstart-cmd 'echo hello; sleep 1' --label mine"
    )
    args = parse_launch_args(text)
    assert args.image == "ghcr.io/org/img:1.2@sha256:ab"
    assert args.disk_gb == 64.0
    assert args.env == {
        "MODEL_ID": "meta-llama/x", "-p 3000:3000": "1", "A": "b c", "-p 70000/udp": "1"
    }  # fmt: skip
    assert args.onstart == "echo hello; sleep 1"
    assert args.extra == {"runtype": "ssh_direct"}
    assert args.ignored == ("label",)


def test_args_take_the_rest_of_the_line() -> None:
    args = parse_launch_args("--image a --args --model x --flag")
    assert args.extra == {"args": ["--model", "x", "--flag"], "runtype": "args"}


@pytest.mark.parametrize("text", [None, ""])
def test_nothing_means_the_templates_values(text: str | None) -> None:
    assert parse_launch_args(text) == LaunchArgs()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("--image 'a b'", "--image"),
        ("--image '$(reboot)'", "--image"),
        ("--image -x", "--image"),
        ("--disk ten", "--disk"),
        ("--disk 1", "--disk"),
        ("--disk nan", "--disk"),
        ("--disk 1e9", "--disk"),
        ("--env '-v /:/host'", "--env"),
        ("--env '--privileged'", "--env"),
        ("--env '-e'", "--env"),
        ("--env '-e 1A=b'", "--env"),
        ("--env '-p a:b'", "-p"),
        ("--env '-p 3000-3010:3000-3010'", "-p"),
        ("--env '-p \"3000:3000\n\"'", "-p"),
        ("--env '-e A=\"one\ntwo\"'", "-e A: no line breaks"),
        ("--env '-e A=\"one\rtwo\"'", "-e A: no line breaks"),
        ("--env '-e \"A\n\"=b'", "no variable name"),
        ("--image 'a\n'", "--image"),
        ("--env '-e MASTER_TOKEN=x'", "MASTER_TOKEN"),
        ("--env '-e HF_TOKEN=x'", "HF_TOKEN"),
        ("--env '-e OPENAI_API_KEY=x'", "OPENAI_API_KEY"),
        ("--onstart start.sh", "--onstart-cmd"),
        ("--price 0.2", "--price"),
        ("--login '-u x -p y'", "--login"),
        ("--unknown", "--unknown"),
        ("stray", "stray"),
        ("--image 'open", "quotation"),
        ("--onstart-cmd " + "x" * 5000, "--onstart-cmd"),
        ("x" * 9000, "longer"),
    ],
)
def test_what_may_not_be_launched_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(LaunchArgsError, match=named):
        parse_launch_args(text)


def test_models_token_limits_are_no_secrets() -> None:
    assert parse_launch_args("--env '-e MAX_TOTAL_TOKENS=4096'").env == {"MAX_TOTAL_TOKENS": "4096"}


WORDS = st.lists(st.text('-ep A=3:/"\n\r', max_size=12), max_size=5).map(" ".join)


@given(WORDS | st.text("-ep A=1:\n", max_size=40))
def test_what_is_accepted_can_be_created(flags: str) -> None:
    """What Vast's create call would refuse is refused here, when the owner can still see it."""
    with contextlib.suppress(LaunchArgsError):
        env = parse_docker_flags(flags)
        assert create_body(label="a", template_hash=None, disk_gb=8.0, env=env, options={})


@given(st.text(max_size=80) | st.text("-ep=\"' --envimagdsk$;`\\", max_size=80))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(LaunchArgsError):
        assert not RESERVED_VARIABLES & parse_launch_args(text).env.keys()
