"""The Python of the owners' shelf: each block compiles, and names only what our clients have.

tests/lab/local/test_shelf_runs.py runs the blocks on one running system.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ballast.client.sdk import Answer, Client

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS: dict[str, type] = {"client": Client, "answer": Answer}
_SNIPPET = re.compile(r"`((?:client|answer)\.[^`]*)`")


def snippets() -> Iterator[tuple[str, str]]:
    """Blocks of Python, and calls of a client in the prose; an ellipsis stands for anything."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        for code in [*re.findall(r"```python\n(.*?)```", text, re.S), *_SNIPPET.findall(prose)]:
            yield page.name, re.sub(r'"([^"]*)…"', r'"\1"', code).replace("…", "...")


SNIPPETS = list(snippets())


def names_of(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What is imported: module and name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", one.name) for one in node.names)


def called(call: ast.Call, imported: dict[str, Any]) -> Callable[..., object] | None:
    """What of ours a call calls: an imported name, or a method of a client."""
    match call.func:
        case ast.Name(id=name):
            return imported.get(name)
        case ast.Attribute(value=ast.Name(id=name), attr=method) if name in OURS:
            return getattr(OURS[name], method, None)
    return None


def check(code: str) -> int:
    """Raises if the code does not compile or names what is not there; how much was checked."""
    tree = ast.parse(code)
    imported: dict[str, Any] = {}
    for module, name in names_of(tree):
        loaded = importlib.import_module(module)
        imported[name] = getattr(loaded, name) if name else loaded
    is_ours = "openai" not in code  # there `client` is OpenAI's own
    n = len(imported)
    for node in ast.walk(tree):
        if not is_ours:
            break
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = OURS.get(node.value.id)
            if owner is not None and node.attr != "trace":  # which an Answer is given
                assert hasattr(owner, node.attr), f"{owner.__name__} has no {node.attr}"
                n += 1
        if isinstance(node, ast.Call) and (function := called(node, imported)):
            known = inspect.signature(function).parameters
            unknown = {one.arg for one in node.keywords if one.arg} - set(known)
            assert unknown == set(), f"{ast.unparse(node)}: no {unknown}"
            n += 1
    return n


@pytest.mark.parametrize(("page", "code"), SNIPPETS)
def test_what_a_page_says_in_python_is_there(page: str, code: str) -> None:
    assert check(code) > 0 or code.startswith("answer.trace"), page


@pytest.mark.parametrize(
    "wrong",
    [
        "from ballast.client.sdk import Clients",
        "client.streams('e', '/generate', {})",
        "client.stream('e', '/generate', {}, resumes=True)",
        "answer.text",
        "client.request(",
    ],
)
def test_what_is_not_there_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, AttributeError, SyntaxError)):
        check(wrong)


def test_the_shelf_has_python() -> None:
    assert len(SNIPPETS) >= 5
