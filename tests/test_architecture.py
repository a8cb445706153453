"""Budgets of size, and names that no module may have (directions of imports: `lint-imports`)."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("chalicelib", "ballast", "workers", "fakes", "infra", "lab", "tests")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
MAX_FOLDER_ENTRIES = 14
ROOMS = ("chalicelib", "ballast", "workers", "lab", "fakes")
TOP_LEVEL = frozenset(
    {
        ".chalice",
        ".ci",
        "chalicelib",
        "ballast",
        "workers",
        "fakes",
        "infra",
        "lab",
        "tests",
        "docs",
    }
)
BANNED_NAMES = frozenset({"utils", "util", "helpers", "common", "misc", "manager", "data"})


def sources() -> list[Path]:
    """Every Python file of the project, as paths from its root."""
    files = [ROOT / "app.py"]
    for package in PACKAGES:
        files += sorted((ROOT / package).rglob("*.py"))
    return [
        file.relative_to(ROOT)
        for file in files
        if file.exists() and not {"build", "node_modules"} & set(file.parts)
    ]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", sources(), ids=str)
def test_files_and_functions_stay_small(path: Path) -> None:
    """A file fits in a head, a function on a screen."""
    text = (ROOT / path).read_text()
    n_lines = text.count("\n")
    assert n_lines <= MAX_FILE_LINES, f"{path}: {n_lines} lines, at most {MAX_FILE_LINES}"
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in functions(ast.parse(text))
        if node.end_lineno and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert not long, f"{path}: functions above {MAX_FUNCTION_LINES} lines: {long}"


def tracked() -> list[Path]:
    """Files of the repository: what a run or a build leaves beside them does not count."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def test_a_folder_is_understood_at_a_glance() -> None:
    """At most 14 entries, `__init__.py` not counted; the top level has its ten folders only."""
    entries: dict[str, set[str]] = {}
    for path in tracked():
        for depth in range(1, len(path.parts)):
            entries.setdefault("/".join(path.parts[:depth]), set()).add(path.parts[depth])
    full = {
        folder: len(names - {"__init__.py"})
        for folder, names in entries.items()
        if folder.startswith(ROOMS)
        if len(names - {"__init__.py"}) > MAX_FOLDER_ENTRIES
    }
    assert full == {}
    assert {path.parts[0] for path in tracked() if len(path.parts) > 1} == TOP_LEVEL


def test_no_module_is_a_drawer_for_anything() -> None:
    """A module is named after what it does."""
    drawers = [str(path) for path in sources() if path.stem in BANNED_NAMES]
    assert not drawers


def test_app_py_only_declares() -> None:
    """Lambda's entry decides nothing, and knows only Chalice and our own package."""
    tree = ast.parse((ROOT / "app.py").read_text())
    decisions = (ast.If, ast.While, ast.Try, ast.Match, ast.IfExp)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, decisions)]
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {"chalice", "chalicelib", "typing", "__future__"}


def test_what_one_name_says_is_said_in_one_place() -> None:
    """The same constant in two files is one fact that may become two."""
    homes: dict[tuple[str, str], list[str]] = {}
    for path in (path for path in sources() if path.is_relative_to("chalicelib")):
        for node in ast.parse((ROOT / path).read_text()).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            name = node.targets[0].id.lstrip("_")
            if name.isupper() and isinstance(node.value, ast.Constant | ast.BinOp | ast.Tuple):
                homes.setdefault((name, ast.unparse(node.value)), []).append(str(path))
    assert {said: paths for said, paths in homes.items() if len(paths) > 1} == {
        ("USER_AGENT", "'ballast'"): [  # told to two strangers
            "chalicelib/adapters/aws/clients.py",
            "chalicelib/adapters/vast/http.py",
        ]
    }


def test_every_number_of_the_core_says_where_it_comes_from() -> None:
    """A source, a measurement, or that it was chosen and why: on its line, above it or below it."""
    silent = []
    for path in (path for path in sources() if path.is_relative_to("chalicelib/core")):
        text = (ROOT / path).read_text()
        lines, body = text.split("\n"), ast.parse(text).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if not is_number_constant(node):
                continue
            own = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            above = lines[node.lineno - 2].lstrip()
            is_told = "#" in own or above.startswith("#") or is_docstring(after)
            if not is_told:
                silent.append(f"{path}:{node.lineno}: {own}")
    assert silent == []


def is_number_constant(node: ast.stmt) -> bool:
    """`NAME = 3.0` at the top of a module."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    names = [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
    numbers = [
        part
        for part in ast.walk(node.value)
        if isinstance(part, ast.Constant) and type(part.value) in (int, float)
    ]
    return bool(names and names[0].lstrip("_").isupper() and numbers)


def is_docstring(node: ast.stmt | None) -> bool:
    """A text alone on its line."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
