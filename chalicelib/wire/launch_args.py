"""`launch_args`: the flags of the CLI's create-instance command, as far as a fleet may use them.

The text is split as a shell would split it and never reaches one; every value ends up in a field of
Vast's JSON (protocol.md E.2, F.2). Flags that are not on the list are refused by name.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from chalicelib.wire.json_body import MAX_TEXT, WireError
from chalicelib.wire.vast import (
    MAX_ENV_CHARS,
    MAX_ENV_TOTAL_CHARS,
    MAX_IMAGE_CHARS,
    MAX_ONSTART_CHARS,
    MIN_DISK_GB,
)

MAX_DISK_GB = 65_536.0

RESERVED_VARIABLES = frozenset({"MASTER_TOKEN", "REPORT_ADDR", "CONTAINER_ID"})
"""Ballast sets these per instance; an owner's value would let a worker impersonate another."""

_SECRET = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASS|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)$", re.I
)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORT = re.compile(r"[0-9]{1,5}(:[0-9]{1,5})?(/tcp|/udp)?")


class LaunchArgsError(WireError):
    """launch_args cannot be used; the message names the flag and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchArgs:
    """What to launch, checked. None = the template's value."""

    image: str | None = None
    disk_gb: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)  # ports as {"-p 3000:3000": "1"}
    onstart: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)  # further fields of Vast's create
    ignored: tuple[str, ...] = ()  # flags that Ballast sets itself


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise LaunchArgsError(f"launch_args: {message}")


def parse_launch_args(text: str | None) -> LaunchArgs:
    """The checked meaning of the flags; an empty one for None and "".

    Raises:
        LaunchArgsError: unbalanced quotes, an unknown or refused flag, a bad or too long value.
    """
    if not text:
        return LaunchArgs()
    if len(text) > MAX_TEXT or "\x00" in text:
        raise LaunchArgsError(f"launch_args: longer than {MAX_TEXT} characters, or holds a NUL")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise LaunchArgsError(f"launch_args: {error}") from error
    flags = _parser().parse_args(words)
    _refuse(flags)
    if flags.image is not None and not (
        len(flags.image) <= MAX_IMAGE_CHARS and _IMAGE.fullmatch(flags.image)
    ):
        raise LaunchArgsError(f"launch_args: --image: {flags.image[:80]!r} is no image name")
    _check_start(flags.onstart_cmd, flags.args)
    return LaunchArgs(
        image=flags.image,
        disk_gb=_disk(flags.disk),
        env=parse_docker_flags(flags.env or ""),
        onstart=flags.onstart_cmd,
        extra=_extra(flags),
        ignored=tuple(n for n in ("label", "force", "cancel_unavail") if getattr(flags, n)),
    )


def parse_docker_flags(text: str) -> dict[str, str]:
    """Docker flags `-e NAME=VALUE -p 3000:3000` as Vast's create call takes them.

    Raises:
        LaunchArgsError: another flag, a bad name or port, a reserved variable, or too long.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise LaunchArgsError(f"launch_args: --env: {error}") from error
    env: dict[str, str] = {}
    position = 0
    while position < len(words):
        flag, value, position = _next_flag(words, position)
        if flag == "-e":
            name, _, content = value.partition("=")
            env[_variable(name, content)] = content
        elif _PORT.fullmatch(value):
            env[f"-p {value}"] = "1"
        else:
            raise LaunchArgsError(f"launch_args: --env: -p {value[:40]!r} is no port mapping")
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_ENV_TOTAL_CHARS:
        raise LaunchArgsError(f"launch_args: --env: longer than {MAX_ENV_TOTAL_CHARS} characters")
    return env


def _next_flag(words: list[str], position: int) -> tuple[str, str, int]:
    word = words[position]
    flag = word[:2]
    if flag not in ("-e", "-p"):
        raise LaunchArgsError(f"launch_args: --env: {word[:40]!r}; allowed: -e NAME=VALUE, -p A:B")
    if len(word) > 2:
        return flag, word[2:], position + 1
    if position + 1 >= len(words):
        raise LaunchArgsError(f"launch_args: --env: {flag} lacks its value")
    return flag, words[position + 1], position + 2


def _variable(name: str, value: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise LaunchArgsError(f"launch_args: --env: {name[:40]!r} is no variable name")
    if name in RESERVED_VARIABLES:
        raise LaunchArgsError(f"launch_args: --env: {name} is set by Ballast; leave it out")
    if _SECRET.search(name):
        raise LaunchArgsError(
            f"launch_args: --env: {name} looks like a secret, which would be stored and shown "
            "here; set it in a private copy of the Vast template"
        )
    if "\n" in value or "\r" in value:
        raise LaunchArgsError(f"launch_args: --env: -e {name}: no line breaks; Vast allows none")
    if max(len(name), len(value)) > MAX_ENV_CHARS:
        raise LaunchArgsError(
            f"launch_args: --env: {name[:40]} is longer than {MAX_ENV_CHARS} characters"
        )
    return name


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--image")
    parser.add_argument("--disk")
    parser.add_argument("--env")
    parser.add_argument("--onstart-cmd", "--onstart_cmd")
    parser.add_argument("--onstart")
    parser.add_argument("--label")
    parser.add_argument("--login")
    parser.add_argument("--extra")
    parser.add_argument("--price", "--bid_price", "--bid-price")
    parser.add_argument("--jupyter-dir")
    for name in ("ssh", "direct", "jupyter", "jupyter-lab", "lang-utf8", "python-utf8"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--cancel-unavail", action="store_true")
    parser.add_argument("--args", nargs=argparse.REMAINDER)
    return parser


def _refuse(flags: argparse.Namespace) -> None:
    if flags.onstart is not None:
        raise LaunchArgsError(
            "launch_args: --onstart names a file on your machine; give its text by --onstart-cmd"
        )
    if flags.price is not None:
        raise LaunchArgsError(
            "launch_args: --price would bid for interruptible machines; Ballast rents on demand"
        )
    if flags.login is not None:
        raise LaunchArgsError(
            "launch_args: --login holds a password; put the registry login into the Vast template"
        )


def _disk(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        disk_gb = float(text)
    except ValueError as error:
        raise LaunchArgsError(f"launch_args: --disk: {text[:40]!r} is not a number") from error
    if not MIN_DISK_GB <= disk_gb <= MAX_DISK_GB:
        raise LaunchArgsError(
            f"launch_args: --disk: {text[:40]} GB; allowed: {MIN_DISK_GB:g} to {MAX_DISK_GB:g}"
        )
    return disk_gb


def _check_start(onstart: str | None, args: list[str] | None) -> None:
    if len(onstart or "") + sum(map(len, args or ())) > MAX_ONSTART_CHARS:
        raise LaunchArgsError(
            f"launch_args: --onstart-cmd and --args are longer than {MAX_ONSTART_CHARS} characters"
        )


def _extra(flags: argparse.Namespace) -> dict[str, object]:
    """Fields of Vast's create call beyond the common ones; only those that were asked for."""
    asked: dict[str, object] = {
        "args": list(flags.args or ()),
        "jupyter_dir": flags.jupyter_dir,
        "extra": flags.extra,
        "lang_utf8": flags.lang_utf8,
        "python_utf8": flags.python_utf8,
        "use_jupyter_lab": flags.jupyter_lab,
        "runtype": _runtype(flags),
    }
    return {name: value for name, value in asked.items() if value}


def _runtype(flags: argparse.Namespace) -> str:
    if flags.args:
        return "args"
    if flags.jupyter:
        return "jupyter_direct" if flags.direct else "jupyter_proxy"
    if flags.ssh:
        return "ssh_direct" if flags.direct else "ssh_proxy"
    return ""
