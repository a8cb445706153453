"""One way to show a number, on the page and in the terminal."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from ballast.cli.terminal import display
from ballast.cli.terminal.display import NOTHING

FORMAT_JS = Path(__file__).parents[2] / "chalicelib" / "dashboard" / "format.js"
NONE = (None, math.nan, "7", True)
CASES = (
    ("usd", (0.0, "$0.00"), (-0.0, "$0.00"), (0.004, "<$0.01"), (0.0000001, "<$0.01")),
    ("usd", (-0.5, "-$0.50"), (1234.5, "$1,234.50"), (0.01, "$0.01"), (2, "$2.00")),
    ("number", (1e-6, "<0.001"), (1.2e-7, "<0.001"), (-0.0, "0"), (0.00123, "0.00123")),
    ("number", (0.42, "0.42"), (1250.4, "1,250"), (-3.5, "-3.5"), (1e6, "1,000,000")),
    ("share", (1e-9, "<0.001 %"), (0.125, "12.5 %"), (0, "0 %"), (1, "100 %"), (5.128, "513 %")),
    ("duration", (0.0, "0.0s"), (0.0004, "<0.05s"), (-3, "0.0s"), (9.9, "9.9s"), (252, "4m 12s")),
    ("duration", (90000, "1d 1h"), (3600, "1h 0m")),
)
PROGRAM = """
const format = await import(process.argv[1]);
const cases = JSON.parse(process.argv[2], (key, value) => (value === 'NaN' ? NaN : value));
console.log(JSON.stringify(cases.map(([name, value]) => format[name](value))));
const names = ['usd', 'number', 'share', 'duration', 'clock'];
const endless = [Infinity, -Infinity].flatMap((value) => names.map((name) => format[name](value)));
console.log(JSON.stringify(endless));
"""


@pytest.mark.parametrize(
    ("name", "value", "text"), [(n, *one) for n, *all_ in CASES for one in all_]
)
def test_the_terminal_shows_numbers_so(name: str, value: float, text: str) -> None:
    assert getattr(display, name)(value) == text


def test_what_is_no_number_is_a_dash_in_the_terminal() -> None:
    for name in ("usd", "number", "share"):
        assert [getattr(display, name)(one) for one in (*NONE, math.inf)] == [NOTHING] * 5
    assert display.duration(math.nan) == display.moment(math.inf) == NOTHING
    assert display.duration(math.inf) == "never"


def test_the_page_shows_them_the_same_way() -> None:
    cases = [(name, value, text) for name, *many in CASES for value, text in many]
    none = [
        (name, one) for name in ("usd", "number", "share", "duration") for one in (None, "7", "NaN")
    ]
    asked = json.dumps([*[one[:2] for one in cases], *none])
    done = subprocess.run(
        ["node", "--input-type=module", "-e", PROGRAM, FORMAT_JS.as_uri(), asked],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shown, endless = (json.loads(line) for line in done.stdout.splitlines())
    assert shown[: len(cases)] == [text for *_, text in cases]
    assert set(shown[len(cases) :]) == set(endless) == {"\N{EN DASH}"}
