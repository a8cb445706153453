"""What is tracked holds no secret, no foreign licence, and no trace of the machine it grew on."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from infra.audit import (
    LOCKS,
    SECRETS,
    find_licences,
    find_secrets,
    known_weaknesses,
    locked_packages,
    secrets_in,
    tracked_files,
)
from infra.options import ROOT

# Put together here, so that this file passes its own scan.
PLANTED = {
    "AWS access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "AWS secret key": "aws_secret_access_key = " + "a1B2" * 10,
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "caller's key": "blk.a-roa-00ff." + "1." + "x" * 86,
    "Vast key": "VAST_API_KEY=" + "0f" * 32,
    "Hugging Face token": "hf_" + "Z" * 34,
    "GitHub token": "ghp_" + "z" * 36,
    "Slack token": "xoxb-" + "1234567890-abc",
}
TRACES = {
    "a home directory": re.compile(r"(?<![\w.])/(?:home|Users)/(?!me\b)[a-z]\w*"),
    "a workplace": re.compile(r"(?<![\w.}:])[/]work[/](?:[a-z.]\w+)"),
    "a package host": re.compile(
        r"(?i)--(?:extra-)?index-url|index_url\s*=|pythonhosted|//pypi|(?<!\w)opt/pypi|artifactory"
    ),
}
OWN_NAME = "test_audit.py"


@pytest.mark.parametrize("kind", SECRETS)
def test_a_planted_secret_is_found(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(f"first line\nx {PLANTED[kind]}\n")
    assert [(f.where, f.what) for f in find_secrets([path])] == [(f"{path}:2", kind)]


def test_hashes_and_names_are_no_secrets() -> None:
    assert not secrets_in("--hash=sha256:" + "0f" * 32)
    assert not secrets_in("export VAST_API_KEY=…, HF_TOKEN, blk.KEYID.GENERATION.MAC")


def test_no_tracked_file_holds_a_secret() -> None:
    assert find_secrets(tracked_files()) == []


def test_no_tracked_file_names_a_machine_or_a_package_host() -> None:
    found = [
        (str(path), what, match[0])
        for path in tracked_files()
        if path.name != OWN_NAME
        for what, pattern in TRACES.items()
        for match in pattern.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_shipped_may_be_shipped(lock: str) -> None:
    packages = locked_packages(ROOT / lock)
    assert len(packages) > 5
    assert find_licences(packages) == []


def test_third_party_files_stand_beside_their_licence() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    vendored = list((ROOT / "chalicelib" / "dashboard").glob("*/*.js"))
    assert vendored
    for path in vendored:
        assert (path.parent / "LICENSE.txt").read_text().startswith("The MIT License")
        assert path.exists()


@pytest.mark.parametrize(
    ("packages", "said", "is_finding"),
    [
        ([{"name": "a", "vulns": []}], "1 of 1 packages audited: no known weakness", False),
        ([{"name": "a", "vulns": [{"id": "CVE-1"}]}], "a CVE-1", True),
        ([{"name": "a", "skip_reason": "unknown"}], "not audited", False),
    ],
)
def test_an_audit_tells_what_it_could_not_audit(
    packages: list[object], said: str, is_finding: bool
) -> None:
    printed = json.dumps({"dependencies": packages})
    text, found = known_weaknesses([sys.executable, "-c", f"print({printed!r})"])
    assert said in text
    assert found is is_finding


@pytest.mark.parametrize("command", [["no-such-program"], [sys.executable, "-c", "1/0"]])
def test_an_audit_that_cannot_be_made_is_told_and_is_no_finding(command: list[str]) -> None:
    text, found = known_weaknesses(command)
    assert text.startswith("not audited")
    assert not found
