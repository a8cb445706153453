"""What Lambda gets is pinned, hash-checked, and what the tests ran with."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from ballast.templates import TemplateError, exact_tag, load_template, template_names

ROOT = Path(__file__).parent.parent.parent
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+?)(?: \\)?$", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / name).read_text()))


def test_every_locked_package_has_hashes() -> None:
    text = (ROOT / "requirements.txt").read_text()
    blocks = [b for b in re.split(r"\n(?=[A-Za-z])", text) if "==" in b]
    assert len(blocks) > 10
    assert [b.splitlines()[0] for b in blocks if "--hash=sha256:" not in b] == []


def test_the_lock_holds_what_requirements_in_asks_for() -> None:
    asked, locked = pins("requirements.in"), pins("requirements.txt")
    assert asked
    assert {name: locked.get(name) for name in asked} == asked


def test_the_tests_run_on_the_deployed_versions() -> None:
    asked = pins("requirements.in")
    assert {name: version(name) for name in asked} == asked


def test_deploying_uses_the_locked_packages_alone() -> None:
    """Not the development environment: whatever runs there would hold the AWS credentials."""
    makefile = (ROOT / "Makefile").read_text()
    for command in ("infra.deploy", "infra.undeploy"):
        lines = [line for line in makefile.splitlines() if f"-m {command}" in line]
        assert lines
        assert all(line.strip().startswith(".venv/deploy/bin/python") for line in lines)
    (install,) = re.findall(r"\.venv/deploy/bin/python -m pip install (.*)", makefile)
    assert set(install.split()) == {
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "-r",
        "requirements.txt",
    }


def test_what_deploys_imports_nothing_that_is_not_locked() -> None:
    locked = {name.lower().replace("_", "-") for name in pins("requirements.txt")}
    code = (
        "import sys, infra.deploy, infra.undeploy, infra.restore, infra.bootstrap\n"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    of_package = packages_distributions()
    packages = {
        package.lower().replace("_", "-") for name in loaded for package in of_package.get(name, ())
    }
    assert packages - locked - {"ballast"} == set()


@pytest.mark.parametrize("name", template_names())
def test_images_are_named_by_an_exact_version(name: str) -> None:
    assert exact_tag(load_template(name).tag)


@pytest.mark.parametrize("tag", ["latest", "latest-cuda", "latest-3.1.2", "3.12-slim", "v3", ""])
def test_a_tag_that_moves_is_refused_by_name(tag: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(repr(tag))):
        exact_tag(tag)
