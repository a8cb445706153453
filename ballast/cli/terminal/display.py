"""Tables and numbers for the terminal. Names and messages come from others: they are cleaned."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

NOTHING = "-"
UNBOUNDED = 10_000  # columns; wider than any table
SENTENCE_WIDTH = 24  # columns in which a wrapped sentence is still read

STATE_STYLES: Mapping[str, str] = {
    "ready": "green",
    "idle": "green",
    "stopped": "cyan",
    "draining": "yellow",
    "paused": "yellow",
    "suspect": "yellow",
    "unreachable": "red",
    "error": "bold red",
    "unavailable": "red",
    "ok": "green",
    "warn": "yellow",
    "bad": "bold red",
}


def clean(value: object) -> str:
    """Text without control characters, so that no name can steer the terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )


def clean_text(text: str) -> str:
    """As `clean`, of a text that may have lines."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


class PlainConsole(Console):
    """A console that no text steers: much of what is told was written on a rented machine."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As `Console.print`, plain texts cleaned; cells and tables come clean (`cell`)."""
        super().print(*(clean_text(o) if isinstance(o, str) else o for o in objects), **options)


def json_text(data: object, indent: int | None = 2) -> str:
    """JSON for people and programs; what a terminal would obey is written as its escape."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def cell(value: object, style: str = "") -> Text:
    """A table cell; None and "" are a dash."""
    return Text(NOTHING if value is None or value == "" else clean(value), style=style)


def state_word(state: object) -> str:
    """A state as an owner reads it; the API's own word otherwise."""
    return {"unavail": "unavailable"}.get(str(state), str(state))


def state_cell(state: object) -> Text:
    """A state or health in its colour."""
    word = state_word(state) if state else state
    return cell(word, STATE_STYLES.get(str(word), ""))


class FittingTable:
    """A table that leaves out optional columns, the last first, where the terminal is narrow.

    Where even the others do not fit, each row becomes some lines: what names a row always stays.
    """

    def __init__(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        self._title = title
        self._columns = columns
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's protocol: what to print within `options.max_width`."""
        chosen = list(range(len(self._columns)))
        while True:
            made = self._table(chosen)
            needs = console.measure(made, options=options.update_width(UNBOUNDED)).maximum
            optional = [i for i in chosen if self._columns[i].startswith("?")]
            if needs <= options.max_width:
                yield made
                yield from self._left_out(chosen)
                return
            if not optional:
                break
            chosen.remove(optional[-1])
        if self._last_is_a_sentence(console, options, chosen):
            yield made
            yield from self._left_out(chosen)
        else:
            yield from self._stacked()

    def _last_is_a_sentence(
        self, console: Console, options: ConsoleOptions, chosen: Sequence[int]
    ) -> bool:
        """Whether all but the last column fit, and that one can be wrapped to a readable width."""
        if len(chosen) < 2 or self._columns[chosen[-1]].startswith(">"):
            return False
        others = self._table(chosen[:-1])
        needs = console.measure(others, options=options.update_width(UNBOUNDED)).maximum
        return needs + SENTENCE_WIDTH <= options.max_width

    def _left_out(self, chosen: Sequence[int]) -> RenderResult:
        """The names of the columns that found no room; what is left out is said."""
        told = [name.lstrip("?>") for i, name in enumerate(self._columns) if i not in chosen]
        if told and self._rows:
            yield Text(f"no room at this width for: {', '.join(told)}", style="dim")

    def _stacked(self) -> RenderResult:
        """A row as its first cell, then the others beneath, each with its column's name."""
        if self._title:
            yield Text(clean(self._title))
        for row in self._rows:
            cells = [v if isinstance(v, Text) else cell(v) for v in row]
            yield Text.assemble(cells[0], style="bold")
            for i in range(1, len(cells)):
                if cells[i].plain not in ("", NOTHING):
                    yield Text.assemble(f"  {self._columns[i].lstrip('?>')}: ", cells[i])

    def _table(self, chosen: Iterable[int]) -> Table:
        made = Table(
            title=Text(clean(self._title)) if self._title else None,
            title_justify="left",
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
            collapse_padding=True,
        )
        indices = list(chosen)
        for i in indices:
            name = self._columns[i].removeprefix("?")
            is_figure = name.startswith(">")
            made.add_column(
                Text(name.removeprefix(">"), style="bold"),
                justify="right" if is_figure else "left",
                no_wrap=is_figure,  # half a number or id is worse than none
                overflow="fold",
            )
        for row in self._rows:
            made.add_row(
                *(v if isinstance(v, Text) else cell(v) for v in (row[i] for i in indices))
            )
        return made


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> FittingTable:
    """A table; '>' before a column's name aligns it right, '?' drops it where space is scarce."""
    return FittingTable(title, columns, rows)


def usd(value: object, digits: int = 2) -> str:
    """Dollars: '$0.42'; less than the last digit shows is said to be less: '<$0.01'."""
    return _shown(value, lambda size: f"{size:,.{digits}f}", 10**-digits, "${}")


def number(value: object) -> str:
    """A load or count to three digits or so: '1,250', '0.42'."""
    return _shown(
        value, lambda size: f"{size:,.0f}" if size >= 100 or size % 1 == 0 else f"{size:.3g}", 0.001
    )


def share(value: object) -> str:
    """A share as percent: '12.5 %'."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    percent = 100 * value if is_number else None  # type: ignore[operator]
    return _shown(
        percent, lambda size: f"{size:.3g}" if size < 100 else f"{size:.0f}", 0.001, "{} %"
    )


def _shown(value: object, text: Callable[[float], str], least: float, unit: str = "{}") -> str:
    """The one way to show a number, as the page's (format.js).

    A dash for what is none; never -0, never an exponent, never a zero that is not one.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return NOTHING
    if 0 < abs(value) < least:
        return f"<{unit.format(f'{least:g}')}"
    return f"{'-' if value < 0 else ''}{unit.format(text(abs(value)))}"


def duration(seconds: object) -> str:
    """A duration in its two largest units: '4m 12s', '3d 2h'."""
    if seconds == float("inf"):
        return "never"
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return NOTHING
    if seconds < 10:
        return _shown(max(seconds, 0.0), lambda size: f"{size:.1f}", 0.05, "{}s")
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def moment(at: object) -> str:
    """A time in UTC: '2026-11-21 03:04:05'."""
    if not isinstance(at, int | float) or not 0 < at < math.inf:
        return NOTHING
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def age(at: object, now: float) -> str:
    """How long ago."""
    return duration(now - at) if isinstance(at, int | float) and at > 0 else NOTHING


def counts(by_state: Mapping[str, int] | None) -> str:
    """Workers by state: '2 ready, 1 outbid' ('paused' is what a group may be)."""
    named = {
        "outbid" if state == "paused" else state_word(state): n
        for state, n in sorted((by_state or {}).items())
    }
    return ", ".join(f"{n} {word}" for word, n in named.items() if n) or "none"
