"""Every threat of docs/internals/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "internals" / "security.md").read_text()
ROWS = {m[1]: m[0] for m in re.finditer(r"^\| (T\d+) \|.*$", TEXT, re.MULTILINE)}
THREATS = [f"T{number}" for number in range(1, 25)]


@pytest.mark.parametrize("threat", THREATS)
def test_a_threat_names_test_files_that_exist(threat: str) -> None:
    shown_by = ROWS[threat].split(" | ")[-1]
    named = re.findall(r"`(tests/[\w/.]+)`", shown_by)
    assert named
    for name in named:
        assert name.endswith(".py"), "a folder shows nothing"
        assert "def test_" in (ROOT / name).read_text()


def test_every_file_that_a_security_document_names_exists() -> None:
    documents = [
        ROOT / "docs" / "internals" / "security.md",
        ROOT / "docs" / "aws.md",
        ROOT / "SECURITY.md",
    ]
    named = [
        name
        for path in documents
        for name in re.findall(r"\b((?:tests|infra)/[\w/]+\.\w+)", path.read_text())
    ]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_module_and_make_target_of_the_deployment_guide_exists() -> None:
    guide = (ROOT / "docs" / "aws.md").read_text()
    modules = re.findall(r"python -m ((?:infra|workers)\.\w+)", guide)
    assert {m for m in modules if not (ROOT / f"{m.replace('.', '/')}.py").exists()} == set()
    targets = re.findall(r"(?:`|^)make ([a-z-]+)", guide, re.MULTILINE)
    assert {t for t in targets if f"\n{t}:" not in (ROOT / "Makefile").read_text()} == set()
