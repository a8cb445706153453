"""Documents point at things that exist, and tell every parameter and route."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from ballast.cli.root import root
from chalicelib.core.model.endpoint_group import ScalingParams
from docs.terminal import what_stays

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


AN_EXAMPLE = "workers.translate.server"  # which the extension guide lets its reader write


@pytest.mark.parametrize("path", documents(), ids=str)
def test_what_a_page_runs_exists(path: Path) -> None:
    """Modules after `python -m`, and the words of `ballast`."""
    text = (ROOT / path).read_text()
    modules = set(re.findall(r"python -m ([a-z_][\w.]*\w)", text)) - {AN_EXAMPLE}
    assert [name for name in modules if find_spec(name) is None] == []
    words = set(re.findall(r"(?:`|^\$ |bin/)ballast ([a-z]+)\b", text, re.MULTILINE))
    assert words <= set(root.list_commands(click.Context(root)))


FOREIGN_DOCUMENTS = {
    "vastai/SKILL.md",  # of the vendor's package, the source of evidence
    "chalicelib/wire/notes.md",  # made by the test of what a bundle leaves out
}


def named_documents() -> list[tuple[str, str, str]]:
    """Every (file, document, section) that code or a page names; section "" where none is."""
    name = re.compile(r"(?<![\w/.*{}-])((?:[\w.-]+/)*[\w-]+\.md)\b(?: ([A-H](?:[. ]\d+)?|\d+)\b)?")
    kinds = {".py", ".md", ".toml", ".yaml", ".js", ".sh"}
    found = []
    for file in tracked_files():
        if file.suffix in kinds and file.name != "test_docs.py":
            for match in name.finditer((ROOT / file).read_text()):
                if match[1] in FOREIGN_DOCUMENTS:
                    continue
                found.append((str(file), match[1], match[2] or ""))
    return found


def tracked_files() -> list[Path]:
    """What the repository holds, from its root; what a build or a run left there is not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_named_document_is_in_the_tree() -> None:
    """`protocol.md A.4`: a reader who clones can follow each name, and finds that section."""
    files = [path for path in tracked_files() if path.suffix == ".md"]
    unknown, unnumbered = [], []
    for where, name, section in named_documents():
        homes = [path for path in files if f"/{path}".endswith("/" + name.lstrip("./"))]
        if not homes:
            unknown.append((where, name))
        elif section and not any(has_section((ROOT / path).read_text(), section) for path in homes):
            unnumbered.append((where, name, section))
    assert (unknown, unnumbered) == ([], [])


def has_section(text: str, section: str) -> bool:
    """A heading, a numbered trap, a rule or a row of a table with that number or letter."""
    number = re.escape(section.rpartition(" ")[2])  # "G 35" is item 35 of the list in part G
    return bool(re.search(rf"^(?:#+ |\| )?{number}(?:\.| \|)? ", text, re.MULTILINE))


def test_the_tour_shows_what_stays_on_a_terminal() -> None:
    spinner = "a\r\n\x1b[?25l\x1b[32m*\x1b[0m asking\r\x1b[2K\x1b[32m*\x1b[0m asking\r\n\x1b[?25h"

    assert what_stays(spinner + "\r\x1b[1A\x1b[2Kb\r\nc\r\n") == "a\nb\nc\n"
    assert "\x1b" not in (ROOT / "docs" / "tour.md").read_text()
