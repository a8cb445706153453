"""The dashboard's files keep the promises that the content security policy enforces."""

from __future__ import annotations

import re
from pathlib import Path

FILES = Path(__file__).parent.parent.parent / "chalicelib" / "dashboard"
OURS = [path for path in FILES.iterdir() if path.suffix in (".js", ".css", ".html")]


def test_no_file_of_ours_makes_markup_from_text_or_names_another_host() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|https?://|//cdn|document\.cookie"
    )
    found = [
        (path.name, match[0]) for path in OURS for match in forbidden.finditer(path.read_text())
    ]
    assert found == []


def test_only_the_theme_and_by_choice_the_key_are_kept_and_the_key_in_the_tab_alone() -> None:
    uses = re.compile(r"(localStorage|sessionStorage)\.\w+\((\w+)")
    found = {(path.name, *match) for path in OURS for match in uses.findall(path.read_text())}
    assert found == {
        ("app.js", "localStorage", "KEPT_THEME"),
        ("app.js", "sessionStorage", "KEPT_KEY"),
    }


def test_the_page_has_no_inline_script_style_or_handler() -> None:
    page = (FILES / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


def test_the_vendored_library_comes_with_its_licence() -> None:
    assert "MIT License" in (FILES / "uplot" / "LICENSE.txt").read_text()
    assert (
        (FILES / "uplot" / "uplot.js")
        .read_text()
        .startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
    )
