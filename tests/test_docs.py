"""Documents point at things that exist, and tell every parameter and route."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from chalicelib.core.model.endpoint_group import ScalingParams

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
TEST_NAME = re.compile(r"\b(tests/[\w/]+\.py)::(\w+)")


def documents() -> list[Path]:
    """Every Markdown file of the project, as paths from its root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("infra/**/*.md")]
    return sorted(path.relative_to(ROOT) for path in found)


@pytest.mark.parametrize("path", documents(), ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    """Relative links of a document; the web is not asked."""
    text = (ROOT / path).read_text()
    targets = [link for link in LINK.findall(text) if "://" not in link and "mailto:" not in link]
    missing = [link for link in targets if not ((ROOT / path).parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("path", documents(), ids=str)
def test_named_tests_exist(path: Path) -> None:
    """A promise names the test that keeps it, as file::function."""
    missing = [
        f"{file}::{name}"
        for file, name in TEST_NAME.findall((ROOT / path).read_text())
        if not (ROOT / file).exists() or f"def {name}" not in (ROOT / file).read_text()
    ]
    assert not missing


def test_every_promise_of_the_readme_names_the_test_that_keeps_it() -> None:
    text = (ROOT / "README.md").read_text()
    rows = text.partition("## Safety promises")[2].partition("\n## ")[0].splitlines()
    promises = [row for row in rows if row.startswith("| ") and not row.startswith("| promise")]
    assert promises
    assert [row for row in promises if not TEST_NAME.search(row)] == []


def test_every_scaling_parameter_is_explained() -> None:
    """Under docs/, by its name in code font."""
    text = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    missing = [
        field.name for field in dataclasses.fields(ScalingParams) if f"`{field.name}`" not in text
    ]
    assert not missing


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named
    missing = [name for name in named if f"\n{name}:" not in makefile]
    assert not missing
