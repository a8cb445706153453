"""`make audit`: secrets in tracked files, licences of what is shipped, known weaknesses of it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.options import ROOT

LOCKS = (
    "requirements.txt",
    "workers/launch/requirements.lock",
    "workers/launch/tracing.lock",
)
PIP_AUDIT = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
PIP_AUDIT_OPTIONS = ("--disable-pip", "--progress-spinner=off", "--format=json", "-r")
PIP_AUDIT_TIMEOUT_S = 300

SECRETS: Mapping[str, re.Pattern[str]] = {
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "AWS secret key": re.compile(
        r"(?i)secret_?access_?key['\"]?\s*[=:]\s*['\"]?[A-Za-z0-9/+]{40}\b"
    ),
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "caller's key": re.compile(
        r"\bblk\.(?:a|e\d+)-[roa]+-\w+\.\d+\.(?:[A-Za-z0-9_-]{43}){1,2}(?![\w-])"
    ),
    "Vast key": re.compile(
        r"(?i)(?:vast|api_?key|bearer)[^\n]{0,40}(?<![0-9a-f])[0-9a-f]{64}(?!\w)"
    ),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
}

LICENCES = re.compile(r"Apache|MIT|BSD|MPL|Mozilla|PSF|Python Software|ISC|Unlicense|Dual License")
"""Of packages that may be shipped beside Apache-2.0 code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be so."""

    where: str
    what: str


def tracked_files(root: Path = ROOT) -> list[Path]:
    """The files that git tracks and that are there.

    Raises:
        subprocess.CalledProcessError: `root` is no git checkout.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := root / name).is_file()]


def secrets_in(text: str) -> list[str]:
    """Kinds of secrets that a text holds."""
    return [kind for kind, pattern in SECRETS.items() if pattern.search(text)]


def find_secrets(paths: Iterable[Path]) -> list[Finding]:
    """Secrets in files, named by kind and line, never by value."""
    found = []
    for path in paths:
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            found += [Finding(f"{path}:{number}", kind) for kind in secrets_in(line)]
    return found


def locked_packages(lock: Path) -> list[str]:
    """Names in a lock file."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE)


def licence_of(package: str) -> str:
    """What an installed package says of its licence; empty if it says nothing.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    told = importlib.metadata.metadata(package)
    fields = ("License-Expression", "License", "Classifier")
    lines = [line for field in fields for line in told.get_all(field) or ()]
    return " ".join(line for line in lines if "::" not in line or line.startswith("License"))


def find_licences(packages: Iterable[str]) -> list[Finding]:
    """Packages whose licence we may not ship."""
    told = {package: licence_of(package) for package in packages}
    return [
        Finding(package, f"licence {licence[:80]!r}")
        for package, licence in told.items()
        if not LICENCES.search(licence)
    ]


def known_weaknesses(command: Sequence[str | Path]) -> tuple[str, bool]:
    """What a pip-audit command (format json) says of locked packages; whether it is a finding.

    A package that its database does not know, or a database that cannot be reached, is told as not
    audited: that is neither good nor bad news.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PIP_AUDIT_TIMEOUT_S
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return f"not audited, the database cannot be reached ({type(error).__name__})", False
    audited = [package for package in packages if "skip_reason" not in package]
    weak = {p["name"]: [v["id"] for v in p["vulns"]] for p in audited if p["vulns"]}
    told = ", ".join(f"{name} {' '.join(ids)}" for name, ids in weak.items()) or "no known weakness"
    if not audited:
        return "not audited, the database knows none of the packages", False
    return f"{len(audited)} of {len(packages)} packages audited: {told}", bool(weak)


def main() -> None:
    """Audit; exits with 1 if anything was found."""
    findings = find_secrets(tracked_files())
    for lock in LOCKS:
        findings += find_licences(locked_packages(ROOT / lock))
    for finding in findings:
        print(f"{finding.where}: {finding.what}")
    print(f"secrets and licences: {len(findings)} findings")
    is_bad = bool(findings)
    for lock in LOCKS:
        said, is_finding = known_weaknesses([PIP_AUDIT, *PIP_AUDIT_OPTIONS, ROOT / lock])
        print(f"{lock}: {said}")
        is_bad = is_bad or is_finding
    sys.exit(1 if is_bad else 0)


if __name__ == "__main__":
    main()
