"""Whether the tests would notice: a seeded sample of mutants of the rules, each against its tests.

`make mutants` (ARGS='--n 60 --seed 7'). Cosmic Ray makes the mutants, in an environment of its own;
coverage says which tests run each line; the quickest of them run on a copy of the tree, one process
a mutant. What no test kills is listed, a line each, and fails the run below 95 %, but for those of
`mutants_equivalent.txt`, which change nothing that anybody can see.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKER = ROOT / ".venv" / "mutants" / "bin" / "python"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")
PARTS = ("chalicelib", "fakes", "lab", "workers", "ballast", "infra", "tests", "docs")
MODULES = (
    "chalicelib/core/money/account.py",
    "chalicelib/core/money/budget.py",
    "chalicelib/core/money/bookkeeping.py",
    "chalicelib/core/fleet/reconcile.py",
    "chalicelib/core/fleet/inventory.py",
    "chalicelib/core/fleet/intents.py",
    "chalicelib/core/fleet/troubles.py",
    "chalicelib/core/model/usable.py",
    "chalicelib/core/routing/admission.py",
    "chalicelib/core/scaling/law.py",
    "chalicelib/core/scaling/moves/repair.py",
    "chalicelib/services/rounds/journal/troubles.py",
    "chalicelib/services/rounds/journal/machines.py",
    "chalicelib/services/rounds/journal/waits.py",
)
SUITES = (
    "tests/core",
    "tests/stories",
    "tests/contracts/test_ledger.py",
    "tests/faults/test_doubt.py",
    "tests/faults/test_money.py",
    "tests/faults/test_named_failures.py",
    "tests/faults/test_owner_controls.py",
    "tests/services/test_barriers.py",
    "tests/services/test_books.py",
    "tests/services/test_machine_troubles.py",
    "tests/services/test_notifications.py",
    "tests/services/test_trouble_edges.py",
    "tests/services/test_waiting.py",
)
ASKED = 0.95
MAX_TEST_S = 25.0  # of CPU: tests that take more together are not asked about one mutant
MOST_CPU_S = 60  # a mutant whose tests go on for ever is killed,
FIGURES = "tests/core/test_figures.py::test_the_page_and_the_code_tell_the_same_figures"
FRESH = "tests/core/test_fresh_values.py::"
_IS_FIELD = re.compile(r"\S+ \w+: [a-z]\w*: [^=]+ = ")  # a default: no line of its module runs
_IS_FIGURE = re.compile(r"\S+ \w+: _?[A-Z][A-Z0-9_, ]* = ")
_STAR = re.compile(r"(?<![\w)\]])\*,")  # of arguments that go by name
TIMES = "BALLAST_TEST_TIMES"  # where the measuring run writes them
TIMEOUT_S = 600.0  # and so is one that makes them wait for ever
PRELOADED = ("boto3", "moto", "cryptography.hazmat.primitives.asymmetric.rsa", "requests")
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis")  # that plugin is slow to import

_LIST = """
import json, sys
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator
names = '''Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot
IsNot_Is'''.split()
operators = ['core/ReplaceComparisonOperator_' + name for name in names]
names = 'Add_Sub Sub_Add Mul_Div Div_Mul'.split()
operators += ['core/ReplaceBinaryOperator_' + name for name in names]
operators += ['core/' + name for name in ('AddNot', 'ReplaceTrueWithFalse', 'ReplaceFalseWithTrue',
    'ReplaceAndWithOr', 'ReplaceOrWithAnd', 'ReplaceBreakWithContinue', 'ReplaceContinueWithBreak',
    'NumberReplacer', 'ReplaceUnaryOperator_Delete_Not', 'ZeroIterationForLoop')]
class Places(MutationVisitor):
    def __init__(self, operator):
        super().__init__(-1, operator)
        self.found = []
    def visit(self, node):
        for _ in self.operator.mutation_positions(node):
            self.found.append(node.start_pos[0])
        return node
wanted = json.load(sys.stdin)
for path, name, occurrence, line in wanted["make"]:
    source = open(path).read()
    code = MutationVisitor.mutate_code(source, get_operator('core/' + name)(), occurrence)
    print(json.dumps([path, name, occurrence, line, code]))
for path in wanted["list"]:
    tree = get_ast(open(path).read())
    for name in operators:
        places = Places(get_operator(name)())
        places.walk(tree)
        for occurrence, line in enumerate(places.found):
            print(json.dumps([path, name.removeprefix('core/'), occurrence, line, ""]))
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: its file, operator and line, and the whole mutated source."""

    path: str
    operator: str
    occurrence: int
    line: int
    code: str

    def in_words(self) -> str:
        """A line for people: where, what was, what is."""
        line, before, after = self._change()
        return f"{self.path}:{line} {self.operator}: {before} -> {after}"

    @property
    def words(self) -> str:
        """The same without its line, which others' changes move."""
        _, before, after = self._change()
        return f"{self.path} {self.operator}: {before} -> {after}"

    def is_of_a_declaration(self) -> bool:
        """Whether it only changes a decorator, or that arguments go by name: no rule, mypy's.

        Or nothing at all, as another way to write the same number; or what no Python reads, as a
        `not` before a name that is bound in place.
        """
        _, before, after = self._change()
        try:
            tree = ast.parse(self.code)
        except SyntaxError:
            return True
        if ast.dump(tree) == ast.dump(ast.parse((ROOT / self.path).read_text())):
            return True
        return before.startswith("@") or _STAR.sub("/,", before) == after

    def _change(self) -> tuple[int, str, str]:
        before = (ROOT / self.path).read_text().splitlines()
        after = self.code.splitlines()
        pairs = enumerate(zip(before, after, strict=False))
        odd = next((i for i, (a, b) in pairs if a != b), self.line - 1)
        return odd + 1, before[odd].strip(), after[odd].strip()


def all_mutants(modules: Sequence[str] = MODULES) -> list[Mutant]:
    """Every mutant of the modules, without its code yet, in an order of the sources alone."""
    return _maker({"list": modules, "make": []})


def made(sample: Sequence[Mutant]) -> list[Mutant]:
    """The sample with its code, without those that only change how something is declared."""
    places = [(m.path, m.operator, m.occurrence, m.line) for m in sample]
    return [m for m in _maker({"list": [], "make": places}) if not m.is_of_a_declaration()]


def _maker(wanted: Mapping[str, object]) -> list[Mutant]:
    done = subprocess.run(
        [str(MAKER), "-c", _LIST],
        cwd=ROOT,
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    return [Mutant(*json.loads(line)) for line in done.stdout.splitlines()]


def measure(tree: Path, suites: Sequence[str], modules: Sequence[str]) -> Path:
    """Run the suites once, unchanged: which lines of the modules each test runs, as a file."""
    data, only = tree / ".coverage", tree / "mutants.coveragerc"
    # What is not mutated need not be traced: all of the code took twice the tests' own time more.
    only.write_text("\n    ".join(["[run]\nbranch = True\ninclude =", *modules]) + "\n")
    arguments = [
        *("-m", "pytest", *QUIET, "-m", "not long and not browser"),
        *("--cov", f"--cov-config={only}", "--cov-context=test", "--cov-report="),
        *("-p", "tests.mutants"),  # which tells each test's time
    ]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env[TIMES] = str(tree / "times.tsv")
    done = subprocess.run(
        [sys.executable, *arguments, *suites],
        cwd=tree,
        env=env,  # what is compiled now is compiled for every mutant
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the tests fail without any mutant:\n{done.stdout[-3000:]}")
    return data


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test's CPU time, as a plugin of the measuring run: on a busy computer the clock lies."""
    began = time.process_time()
    yield
    with open(os.environ[TIMES], "a") as times:
        times.write(f"{item.nodeid}\t{time.process_time() - began}\n")


class Covering:
    """Which tests run a line, and how long each takes."""

    def __init__(self, tree: Path, data: Path) -> None:
        self.tests: dict[str, dict[int, set[str]]] = {}
        with sqlite3.connect(data) as db:
            rows = db.execute(
                "select distinct f.path, c.context, abs(a.tono) from arc a"
                " join file f on f.id = a.file_id join context c on c.id = a.context_id"
                " where c.context != ''"
            )
            for path, context, line in rows:
                lines = self.tests.setdefault(os.path.relpath(path, tree), {})
                lines.setdefault(line, set()).add(context.rpartition("|")[0])
        if not self.tests:
            raise SystemExit("coverage told of no test's lines: its data has another form")
        times = [row.rpartition("\t") for row in (tree / "times.tsv").read_text().splitlines()]
        self.seconds = {test: float(cpu_s) for test, _, cpu_s in times}

    def of(self, mutant: Mutant) -> list[str]:
        """The quickest tests that run a mutant's line; of a constant those that run its module."""
        lines = self.tests.get(mutant.path, {})
        tests = lines.get(mutant.line) or set().union(*lines.values(), set())
        # The page of figures is asked first: it imports a module, and runs none of its lines.
        page = f"{FIGURES}[{mutant.path.removeprefix('chalicelib/')}]"
        chosen = [page] if page in self.seconds and _IS_FIGURE.match(mutant.words) else []
        if _IS_FIELD.match(mutant.words):
            chosen += [test for test in self.seconds if test.startswith(FRESH)]
        spent = 0.0
        for test in sorted(tests, key=lambda one: (self.seconds.get(one, 1.0), one)):
            spent += self.seconds.get(test, 1.0)
            if spent > MAX_TEST_S and chosen:
                break
            chosen.append(test)
        return chosen


def is_killed(tree: Path, mutant: Mutant, tests: Sequence[str]) -> bool:
    """Whether a test fails, or hangs, with the mutant in place of its file."""
    target = tree / mutant.path
    original = target.read_text()
    target.write_text(mutant.code)
    try:
        child = os.fork()
        if child == 0:
            _run_in_child(tree, tests)
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) != 0
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True
    finally:
        target.write_text(original)


def _run_in_child(tree: Path, tests: Sequence[str]) -> None:
    """Never returns: pytest on the copy, in a process that holds nothing of ours yet."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = True
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
        code = pytest.main([*QUIET, "-x", "--assert=plain", "--rootdir", str(tree), *tests])
    finally:
        os._exit(int(code))  # whatever happened: the parent's cleaning up is not for the child


def copy_tree(into: Path) -> None:
    """What the tests need of the sources."""
    for part in PARTS:
        shutil.copytree(ROOT / part, into / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "app.py", "requirements.txt", "requirements.in"):
        shutil.copy(ROOT / name, into / name)


def main() -> int:
    """Sample, try, tell; 1 if too many survive."""
    parser = argparse.ArgumentParser(description="Mutants of the rules, against their tests.")
    parser.add_argument("--n", type=int, default=300, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=45.0, help="no mutant is begun later")
    parser.add_argument("--modules", nargs="*", default=MODULES, help="files to mutate")
    parser.add_argument("--suites", nargs="*", default=SUITES, help="tests to ask")
    args = parser.parse_args()
    known = _equivalent()
    began = time.monotonic()
    everything = all_mutants(args.modules)
    sample = made(random.Random(args.seed).sample(everything, min(args.n, len(everything))))
    with tempfile.TemporaryDirectory(prefix="ballast-mutants-") as name:
        tree = Path(name)
        copy_tree(tree)
        covering = Covering(tree, measure(tree, args.suites, args.modules))
        for module in PRELOADED:
            importlib.import_module(module)
        for mutant in sample[:1]:  # the control: the same way, with nothing changed
            unchanged = replace(mutant, code=(ROOT / mutant.path).read_text())
            if is_killed(tree, unchanged, covering.of(mutant)):
                raise SystemExit("tests fail on the copy without any mutant")
        survivors, n_tried, n_equivalent = [], 0, 0
        for mutant in sample:
            if time.monotonic() - began > args.minutes * 60:
                break
            if mutant.words in known:
                n_equivalent += 1
                continue
            tests = covering.of(mutant)
            n_tried += 1
            if n_tried % 25 == 0:
                print(f"{n_tried} tried; {_spent(began)}", flush=True)  # noqa: T201
            if not tests or not is_killed(tree, mutant, tests):
                survivors.append(mutant)
                print(f"survives {len(tests)} tests: {mutant.in_words()}", flush=True)  # noqa: T201
    share = 1.0 - len(survivors) / max(n_tried, 1)
    print(  # noqa: T201
        f"seed {args.seed}: {n_tried} of {len(everything)} mutants tried, {n_equivalent} "
        f"equivalent, {share:.1%} killed, {len(survivors)} survive; {_spent(began)}"
    )
    return 0 if share >= ASKED else 1


def _spent(began: float) -> str:
    """Minutes on the clock, and of the processors: on a busy computer they differ much."""
    cpu_s = sum(os.times()[:4])
    return f"{(time.monotonic() - began) / 60:.0f} min, {cpu_s / 60:.0f} of CPU"


def _equivalent() -> Mapping[str, str]:
    """Mutants that nobody could tell from the original, each with why, by their words."""
    if not EQUIVALENT.exists():
        return {}
    rows = (line.partition("\t") for line in EQUIVALENT.read_text().splitlines() if line)
    return {words: why for words, _, why in rows}


if __name__ == "__main__":
    raise SystemExit(main())
