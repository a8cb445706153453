"""Every figure that a rule compares with stands on its page, with the value that the code has."""

from __future__ import annotations

import ast
import importlib
import re
from math import isfinite
from pathlib import Path

import pytest

from tests.mutants import MODULES

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "internals" / "figures.md"
_ROW = re.compile(r"^\| `([\w/.]+)` \| `(\w+)` \| ([-\d.e]+) \| (.+) \|$", re.MULTILINE)
TOLD = {(row[1], row[2]): float(row[3]) for row in _ROW.finditer(PAGE.read_text())}
FILES = sorted({file for file, _ in TOLD})


def figures(file: str) -> dict[str, float]:
    """The finite numbers that a file names in capitals, by name."""
    module = importlib.import_module("chalicelib." + file.removesuffix(".py").replace("/", "."))
    names = [
        name.id
        for statement in ast.parse((ROOT / "chalicelib" / file).read_text()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and name.id.isupper()
    ]
    values = {name: getattr(module, name) for name in names}
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and isfinite(value)
    }


@pytest.mark.parametrize("file", FILES)
def test_the_page_and_the_code_tell_the_same_figures(file: str) -> None:
    assert figures(file) == {name: value for (of, name), value in TOLD.items() if of == file}


def test_the_page_tells_of_every_file_of_rules_that_the_mutation_run_changes() -> None:
    files = {path.removeprefix("chalicelib/") for path in MODULES}
    assert {file for file in files if figures(file)} == set(FILES)
