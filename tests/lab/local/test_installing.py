"""The progress of a first set-up: what pip says in one line, and all of it when it fails."""

from __future__ import annotations

import subprocess
import sys

from lab.local.processes.installing import steps

# pip 25 and 26 on a fresh environment, shortened; indentation and colons as it prints them.
SAID = """\
Obtaining file:///home/me/ballast
  Installing build dependencies: started
  Preparing editable metadata (pyproject.toml): finished with status 'done'
Collecting requests<3,>=2.32 (from ballast==0.2.0)
  Downloading requests-2.34.2-py3-none-any.whl.metadata (4.9 kB)
Collecting boto3==1.44.5 (from ballast==0.2.0)
  Using cached boto3-1.44.5-py3-none-any.whl.metadata (6.7 kB)
Collecting requests<3,>=2.32 (from moto==5.2.5)
Requirement already satisfied: six in ./.venv/lib (from python-dateutil)
Downloading matplotlib-3.11.2-cp311-manylinux_2_17_x86_64.whl (8.7 MB)
Installing collected packages: six, requests, boto3
Successfully installed boto3-1.44.5 requests-2.34.2
"""


def test_progress_counts_packages_and_names_downloads_once_each() -> None:
    told = list(steps(SAID.splitlines()))
    assert told == [
        "1 package found",
        "1 package found; downloading requests, 4.9 kB",
        "2 packages found",
        "3 packages found",
        "3 packages found; downloading matplotlib, 8.7 MB",
        "installing 3 packages",
    ]


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.local.processes.installing", "a thing", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_quiet_success_and_a_failure_with_pips_own_words() -> None:
    done = install("--no-index", "pytest")  # it is there
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("• installing a thing, once\n")
    assert "done in" in done.stdout
    failed = install("--no-index", "no-such-package-anywhere")
    assert failed.returncode == 1
    assert "No matching distribution found for no-such-package-anywhere" in failed.stderr
    assert "a thing could not be installed" in failed.stderr
