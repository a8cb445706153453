"""An artificial next version of Ballast: this tree, with fields added, renamed and retyped.

It is made anew from the sources at each run, so that it always differs from them by these changes
and no others. Each must match: a change that no longer does is adapted, or the test says nothing.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[3]
PARTS = ("chalicelib", "lab", "fakes", "workers", "ballast", "infra")
EDITS: tuple[tuple[str, str, str], ...] = (
    # what it calls itself
    ("core/scaling/round_memory.py", 'WRITTEN_BY = "0.2.0"', 'WRITTEN_BY = "0.3.0"'),
    # added: to groups, autogroups, keys, rentals, workers, the account, the memory
    (
        "core/model/endpoint_group.py",
        "    min_load: float = 0.0\n    target_util",
        "    min_load: float = 0.0\n    greenness: float = 0.5\n    target_util",
    ),
    (
        "core/model/autogroup.py",
        "    weight: float = 1.0\n",
        '    weight: float = 1.0\n    mood: str = "good"\n',
    ),
    ("ports/keys.py", "    is_held: bool", '    mood: str = "good"\n    is_held: bool'),
    (
        "core/fleet/intents.py",
        '    problem: str = ""\n',
        '    problem: str = ""\n    mood: str = "good"\n',
    ),
    (
        "core/money/account.py",
        "    version: int = 0",
        '    mood: str = "good"\n    version: int = 0',
    ),
    ("adapters/aws/ledger_store.py", "frozenset[str] = frozenset()", 'frozenset[str] = {"mood"}'),
    (
        "core/scaling/round_memory.py",
        "    n_strays: int = 0",
        '    mood: str = "good"\n    n_strays: int = 0',
    ),
    # retyped: a moment of the memory becomes a list; the view gets another form, and a name for it
    (
        "core/scaling/round_memory.py",
        "        return to_json(self).encode()\n",
        "        plain = json.loads(to_json(self))\n"
        '        plain["credit_retry_at"] = [plain["credit_retry_at"]]\n'
        "        return json.dumps(plain, sort_keys=True).encode()\n",
    ),
    (
        "core/scaling/round_memory.py",
        "        return salvage(RoundMemory, raw)\n",
        '        if isinstance(raw.get("credit_retry_at"), list):\n'
        '            raw["credit_retry_at"] = raw["credit_retry_at"][0]\n'
        "        return salvage(RoundMemory, raw)\n",
    ),
    ("core/routing/packed_view.py", '_MAGIC = b"BV2"', '_MAGIC = b"BV9"'),
    (
        "core/routing/directory.py",
        '        "name": group.name,\n',
        '        "name": group.name,\n        "colour": "blue",\n',
    ),
)
RENAMED = (("n_start_refusals", "n_start_rejections"), ("n_strays", "n_unclaimed"))
"""Fields of worker rows and of the memory that go by other names, wherever they are used."""


def make_next_version(into: Path) -> Path:
    """The tree of the next version; gives its root.

    Raises:
        ValueError: a change matches nothing, or more than one place.
    """
    for part in PARTS:
        shutil.copytree(ROOT / part, into / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", into / "app.py")
    for name, before, after in EDITS:
        path = into / "chalicelib" / name
        text = path.read_text()
        if text.count(before) != 1:
            raise ValueError(f"{name}: {text.count(before)} times {before!r}")
        path.write_text(text.replace(before, after))
    for before, after in RENAMED:
        pattern, n_files = re.compile(rf"\b{before}\b"), 0
        for path in into.rglob("*.py"):
            text = path.read_text()
            if pattern.search(text):
                path.write_text(pattern.sub(after, text))
                n_files += 1
        if n_files == 0:
            raise ValueError(f"{before}: no such field any more")
    return into
