"""What Lambda gets is pinned, hash-checked, and what the tests ran with."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

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
