"""`python -m lab.bench paths`: what a granted request and a renting round pass through.

Both run in this process over the fakes, and every call of the project's own code is counted. The
lists of files in ARCHITECTURE.md are this command's output (`tests/lab/bench/test_paths.py`).
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import World
from lab.bench.route import HotFunction

ONE_ROUND_S = 13.0  # the reserve of a round, and an interval that leaves no time for a second
ROOT = Path(__file__).parent.parent.parent
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
GOALS = {"route": (70, 15, 30), "round": (200, 40, 45)}
"""Functions, files and classes that a reader should need at most; a wish, not a limit."""


@dataclass(slots=True)
class Trail:
    """What was met, in the order of the first meeting."""

    functions: dict[str, int] = field(default_factory=dict)
    """`file:qualified name` → calls. Comprehensions and lambdas belong to who holds them."""
    classes: dict[str, None] = field(default_factory=dict)
    """The project's classes that some function was given."""

    @property
    def files(self) -> list[str]:
        """From the repository's root."""
        return list(dict.fromkeys(name.partition(":")[0] for name in self.functions))

    def meet(self, frame: FrameType) -> None:
        """Count a call."""
        code = frame.f_code
        given = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
        for value in given:
            kind = value if isinstance(value, type) else type(value)
            if kind.__module__.startswith("chalicelib."):
                self.classes.setdefault(kind.__name__)
        path = Path(code.co_filename)
        if not path.is_relative_to(ROOT / "chalicelib") or "<" in code.co_name:
            return
        name = f"{path.relative_to(ROOT)}:{code.co_qualname}"
        self.functions[name] = self.functions.get(name, 0) + 1


@contextmanager
def trailing() -> Iterator[Trail]:
    """Count the calls of a block, on this thread."""
    trail = Trail()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            trail.meet(frame)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield trail
    finally:
        sys.setprofile(before)


def trail_of_a_grant() -> Trail:
    """A warm hot function, from the gateway's event to the ticket."""
    hot = HotFunction(10, TicketGeneration.D)
    for _ in range(3):
        hot.grant()
    with trailing() as trail:
        hot.grant()
    return trail


def trail_of_a_rental() -> Trail:
    """A minute of the scaler that rents one machine for a client who waits."""
    world = World()
    group = world.add_group(max_workers=1)
    world.tick(60.0)
    world.ask(group.endpoint_id)
    before = len(world.market.instances)
    with trailing() as trail:
        scaling_loop(world.ports, deadline_at=world.now + ONE_ROUND_S)
    if len(world.market.instances) != before + 1:
        raise RuntimeError("the round rented nothing, so its path is not the one to follow")
    return trail


PATHS: dict[str, Callable[[], Trail]] = {"route": trail_of_a_grant, "round": trail_of_a_rental}


def with_lists(text: str) -> str:
    """The page with the list of each path between its two marks."""
    for name, walk in PATHS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{ARCHITECTURE}: the marks {begin} and {end} are missing")
        steps = [f"{i}. `{file}`: {purpose(file)}" for i, file in enumerate(walk().files, 1)]
        text = "\n".join([head + begin, *steps, end]) + tail
    return text


def purpose(file: str) -> str:
    """The first line of the module's docstring."""
    docstring = ast.get_docstring(ast.parse((ROOT / file).read_text())) or ""
    return docstring.partition("\n")[0]


def main(argv: list[str]) -> int:
    """Print both paths; a missed goal is printed, and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench paths", description=__doc__)
    parser.add_argument("--functions", action="store_true", help="every function, in order")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="the lists into ARCHITECTURE.md")
    options = parser.parse_args(argv)
    if options.write:
        ARCHITECTURE.write_text(with_lists(ARCHITECTURE.read_text()))
        return 0
    rows = {}
    for name, walk in PATHS.items():
        trail = walk()
        counts = (len(trail.functions), len(trail.files), len(trail.classes))
        rows[name] = {
            "functions": counts[0],
            "files": counts[1],
            "classes": counts[2],
            "goals": GOALS[name],
            "path": list(trail.functions) if options.functions else trail.files,
        }
    if options.json:
        print(json.dumps(rows))
        return 0
    for name, row in rows.items():
        print(f"{name}: {row['functions']} functions, {row['files']} files, "
              f"{row['classes']} classes; goals {GOALS[name]}")  # fmt: skip
        print("\n".join(f"  {step}" for step in row["path"]))  # type: ignore[attr-defined]
    return 0
