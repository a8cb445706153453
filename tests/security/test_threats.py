"""Every threat of docs/internals/security.md names tests that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "internals" / "security.md").read_text()
ROWS = {m[1]: m[0] for m in re.finditer(r"^\| (T\d+) \|.*$", TEXT, re.MULTILINE)}
PROMISES = tomllib.loads((ROOT / "tests" / "security" / "promises.toml").read_text())
THREATS = [f"T{number}" for number in range(1, 25)]


@pytest.mark.parametrize("threat", THREATS)
def test_a_threat_names_test_files_that_exist(threat: str) -> None:
    shown_by = ROWS[threat].split(" | ")[-1]
    named = re.findall(r"`(tests/[\w/.]+)`", shown_by)
    assert named
    for name in named:
        assert name.endswith(".py"), "a folder shows nothing"
        assert "def test_" in (ROOT / name).read_text()


def promised(threat: str) -> list[str]:
    """What the page says stands against a threat, sentence by sentence and part by part."""
    cell = ROWS[threat].split(" | ")[2]
    return [part for part in re.split(r"; |(?<=[a-z0-9)`])\. ", cell) if part]


@cache
def functions_of(name: str) -> frozenset[str]:
    """The test functions of a file under tests."""
    tree = ast.parse((ROOT / "tests" / name).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


@pytest.mark.parametrize("threat", THREATS)
def test_every_promise_has_a_test_that_attacks_it(threat: str) -> None:
    """What is promised in the page and tested nowhere, or named here and promised no more."""
    parts, known = promised(threat), PROMISES[threat]
    untested = [
        part
        for part in parts
        if not any(words in part for words in (*known, *PROMISES["no_promise"]))
    ]
    assert untested == [], "give each a test in tests/security/promises.toml"
    assert [words for words in known if not any(words in part for part in parts)] == []
    for shown in known.values():
        name, _, test = shown.partition("::")
        assert test in functions_of(name), f"{shown} is no test"


def test_a_promise_without_a_test_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS["T8"].replace("change nothing |", "change nothing; nobody is ever harmed |")
    monkeypatch.setitem(ROWS, "T8", row)
    with pytest.raises(AssertionError, match="nobody is ever harmed"):
        test_every_promise_has_a_test_that_attacks_it("T8")


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
