"""Reads lines for AWS's command line out of our documents and makes the same calls with boto3."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name

DOCS = Path(__file__).parent.parent.parent / "docs"


def blocks(document: str, heading: str) -> list[list[str]]:
    """The lines of each shell block under a heading."""
    section = (DOCS / document).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [block.split("```")[0].splitlines() for block in section.split("```sh\n")[1:]]


def call(line: str) -> str:
    """Make a line's call, or wait as it says; gives what `--query` asks for.

    An operation or option that AWS does not have raises.
    """
    program, service, operation, *words = shlex.split(line)
    assert program == "aws"
    client: Any = boto3.client(service)  # type: ignore[call-overload]
    if operation == "wait":
        name, *words = words
        arguments = _arguments(client, "DescribeTable", words)
        waiter = client.get_waiter(name.replace("-", "_"))
        waiter.wait(**arguments, WaiterConfig={"Delay": 1})  # the command's own: 20 s
        return ""
    (api_name,) = (n for n in client.meta.service_model.operation_names if _kebab(n) == operation)
    query = words[words.index("--query") + 1] if "--query" in words else ""
    reply = getattr(client, xform_name(api_name))(**_arguments(client, api_name, words))
    return str(jmespath.search(query, reply)) if query else ""


def _arguments(client: Any, api_name: str, words: list[str]) -> dict[str, Any]:
    members = client.meta.service_model.operation_model(api_name).input_shape.members
    names = {f"--{_kebab(name)}": name for name in members}
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word in ("--query", "--output"):
            next(rest)
        elif word.startswith("--no-"):
            given[names[f"--{word.removeprefix('--no-')}"]] = False
        elif members[names[word]].type_name == "boolean":
            given[names[word]] = True
        else:
            text = next(rest)
            is_json = members[names[word]].type_name in ("map", "structure")
            given[names[word]] = json.loads(text) if is_json else text
    return given


def _kebab(name: str) -> str:
    return xform_name(name, "-")
