"""Write docs/tour.md: run every command of `ballast` on the local system and keep what it says.

.venv/bin/python -m docs.tour
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docs.terminal import run_at_terminal, run_until
from lab.local.system.environment import DUMMY_VAST_KEY
from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.owner import Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates
from lab.local.system.up import end_by_signals

TARGET = Path(__file__).parent / "tour.md"
GROUP = "TGI-Llama3"
READY_TIMEOUT_S = 180.0
TIME_SCALE = 30.0
HEAD = f"""# A tour of every command

Written by `python -m docs.tour`, which starts the local system (market sped up {TIME_SCALE:g}
times; no real money) and runs what follows; the outputs are what the commands printed. Keys are
masked. `$?` is shown where it is not 0. What is typed at a question follows `<`; Ctrl-C ended
`watch`.
"""


@dataclass
class Tour:
    """The document in the making, and the system it is made on."""

    system: LocalSystem
    environment: Mapping[str, str]
    text: list[str] = field(default_factory=lambda: [HEAD])

    def say(self, prose: str) -> None:
        """A paragraph or heading."""
        self.text.append(f"\n{prose}\n")

    def run(self, command: str, *, n_last: int = 1_000, n_first: int = 1_000) -> str:
        """Run a command line and keep lines of what it prints; gives its output."""
        done = subprocess.run(
            self._program(command),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        lines = [line.rstrip() for line in done.stdout.strip("\n").split("\n")]
        shown = [*(["…"] if len(lines) > n_last else []), *lines[-n_last:]]
        shown = [*shown[:n_first], *(["…"] if len(shown) > n_first else [])]
        self._keep(command, "\n".join(shown), done.returncode)
        return done.stdout

    def answer(self, command: str, *answers: str, shown: str) -> None:
        """Run a command line at a terminal that answers its questions; `shown` stands for them."""
        code, output = run_at_terminal(self._program(command), self.environment, answers)
        for text in answers:
            output = output.replace(text, "")
        self._keep(f"{command} < {shown}", output, code)

    def interrupt(self, command: str, until: str) -> None:
        """Run a command line until it has printed a text, then press Ctrl-C."""
        code, output = run_until(self._program(command), self.environment, until)
        self._keep(command, output + "^C", code)

    def _program(self, command: str) -> list[str]:
        words = shlex.split(command)
        words = [
            self.environment.get(word[1:], word) if word[:1] == "$" else word for word in words
        ]
        program = [sys.executable, "-m", "ballast.cli"] if words[0] == "ballast" else [words[0]]
        program = [sys.executable] if words[0] == "python" else program
        return [*program, *words[1:]]

    def _keep(self, command: str, output: str, code: int) -> None:
        print(f"{code}  {command}", flush=True)
        end = f"$? = {code}\n" if code else ""
        lines = "\n".join(line.rstrip() for line in output.strip().splitlines())
        self.text.append(f"```\n$ {command}\n{self._masked(lines)}\n{end}```")

    def wait(self, what: str, look: Callable[[Owner], object]) -> None:
        """Wait for the system."""
        owner = Owner(self.system.url, self.system.account_key)
        wait_until(what, lambda: look(owner), READY_TIMEOUT_S)

    def _masked(self, text: str) -> str:
        text = re.sub(r"blk\.([a-z0-9-]+)\.[0-9]+\.[A-Za-z0-9_-]+", r"blk.\1.1.…", text)
        for shown, hidden in (
            ("$BALLAST_URL", self.system.url),
            ("$BALLAST_MARKET_URL", self.system.market_url),
            ("~", self.environment["HOME"]),
        ):
            text = text.replace(hidden, shown)
        return re.sub(r"https?://127\.0\.0\.1:\d+", "WORKER_URL", text)


def main() -> None:
    """Write the tour."""
    end_by_signals()  # what it runs must hear Ctrl-C, wherever it was started
    with (
        tempfile.TemporaryDirectory() as home,
        local_system(Options(time_scale=TIME_SCALE), print) as system,
    ):
        template = register_templates(system.market_url)[TGI_SIMULATED.name]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "HOME": home,
            "COLUMNS": "118",
            "BALLAST_URL": system.url,
            "BALLAST_API_KEY": system.account_key,
            "BALLAST_MARKET_URL": system.market_url,
            "BALLAST_VAST_URL": system.market_url,
            "VAST_API_KEY": DUMMY_VAST_KEY,
            "TEMPLATE_HASH": template,
            "GROUP_YAML": _write_yaml(Path(home), template),
            "PROBE_RECORD": str(Path(home) / "vast-probe.json"),
        }
        tour = Tour(system, environment)
        for chapter in (
            begin,
            up_and_down,
            create,
            serve,
            understand,
            change,
            roll_out,
            brake,
            break_it,
            leave,
        ):
            chapter(tour)
        TARGET.write_text("\n".join(tour.text) + "\n", encoding="utf-8")


def begin(tour: Tour) -> None:
    """Sign in, look around."""
    tour.say("## Begin")
    tour.run("ballast --help")
    tour.run("ballast login")
    tour.run("ballast completion bash", n_first=4)
    owner = tour.environment
    tour.environment = {**tour.system.environment, **owner}
    tour.answer(
        "ballast secret set VAST_API_KEY --stage dev", DUMMY_VAST_KEY, shown="the key, not echoed"
    )
    tour.run("ballast doctor --stage dev")
    tour.run("ballast probe --record $PROBE_RECORD")
    tour.environment = owner
    tour.run("ballast show account")
    tour.run("ballast notify add slack https://hooks.slack.com/services/T000/B000/x")
    tour.run("ballast notify list")
    tour.run("ballast notify remove slack")


def up_and_down(tour: Tour) -> None:
    """From a template, or a model's name, to a first token, and back."""
    tour.say("## From a template, or a model's name, to an answer")
    tour.run("ballast up org/model-7b --memory-gb 20 --max-usd-per-hour 1 --dry-run")
    tour.run("ballast up $TEMPLATE_HASH --name hello --yes")
    tour.run("ballast down hello --yes")


def create(tour: Tour) -> None:
    """A group and an autogroup."""
    tour.say("## Create a group and an autogroup")
    tour.run(
        f'ballast create endpoint --endpoint_name "{GROUP}" --cold_mult 1.0 --min_load 100 '
        "--target_util 0.9 --max_workers 20 --cold_workers 5"
    )
    tour.run(
        f'ballast create autogroup --endpoint_name "{GROUP}" --template_hash $TEMPLATE_HASH '
        "--test_workers 3 --yes"
    )
    tour.run(f"ballast plan {GROUP}")
    tour.run("ballast status")
    tour.say("A few minutes of the market later:")
    tour.wait("three measured workers", lambda owner: _n_loaded(owner) >= 3)
    tour.run(f"ballast workers {GROUP}")
    tour.run("ballast show endpoints")
    tour.run("ballast show autogroups")


def serve(tour: Tour) -> None:
    """Requests, with a key of their own."""
    tour.say("## Serve requests, with a key that may do nothing else")
    made = tour.run(
        f"ballast create key --name shop --endpoint_name {GROUP} --max_requests_per_s 50"
    )
    key = next(word for word in made.split() if word.startswith("blk."))
    tour.environment = {**tour.environment, "SHOP_KEY": key, "SHOP_KEY_ID": key.split(".")[1]}
    tour.run(f"python -m workers.tgi.test_load -n 120 -rps 6 -k $SHOP_KEY -e {GROUP}", n_last=9)
    tour.run(f'ballast call {GROUP} "What is the best movie of all time?" --max-tokens 24')
    tour.run("ballast show keys")
    tour.run("ballast update key $SHOP_KEY_ID --max_requests_per_s 80 --max_concurrent 200")
    tour.run("ballast status")
    tour.interrupt("ballast watch --interval 1", until=GROUP)


def understand(tour: Tour) -> None:
    """Why, how much, since when."""
    tour.say("## Understand it")
    tour.run("ballast explain last")
    worker = Owner(tour.system.url, tour.system.account_key)
    instance_id = worker.workers(_group_id(worker))[0]["id"]
    tour.run(f"ballast explain {instance_id}")
    tour.run(f"ballast logs {GROUP} --level info1 --tail 1500")
    tour.run("ballast logs --account")
    tour.run(f"ballast stats {GROUP}")
    time.sleep(max(0.0, 62 - time.time() % 60))  # series are by the minute
    tour.run(
        f"ballast stats {GROUP} --metric arriving_load --metric capacity --metric usd_per_hour"
    )
    tour.run(f"ballast compare {GROUP} --hours 1")
    tour.run("ballast spend --days 1")
    tour.run("ballast spend --days 1 --by worker")
    tour.run("ballast spend --days 1 --csv -")
    tour.run(f"ballast simulate {GROUP} --set min_load=4000 --hours 1")


def change(tour: Tour) -> None:
    """Parameters live, and from a file."""
    tour.say("## Change it")
    tour.run(f"ballast update endpoint {GROUP} --target_util 0.8 --max_usd_per_hour 4 --yes")
    tour.run(f"ballast update endpoint {GROUP} --schedule '0 8 * * mon-fri;10h;200' --yes")
    tour.run(f"ballast update endpoint {GROUP} --cold_workers 500")
    tour.run("ballast update account --max_usd_per_day 40")
    tour.say(
        "From a file:\n\n```\n" + Path(tour.environment["GROUP_YAML"]).read_text().strip() + "\n```"
    )
    tour.run("ballast apply -f $GROUP_YAML --dry-run")
    tour.run("ballast apply -f $GROUP_YAML --yes")
    tour.run("ballast apply -f $GROUP_YAML --yes")


def roll_out(tour: Tour) -> None:
    """Traffic between autogroups."""
    tour.say("## Roll out a second autogroup to a tenth of the requests")
    tour.run("ballast template list")
    tour.run("ballast template publish $TEMPLATE_HASH --model org/new-model --no-token")
    tour.run(f"ballast rollout {GROUP} 10")
    tour.run(f"ballast promote {GROUP} --yes")
    tour.run(f"ballast pause {GROUP} --yes")
    tour.run(f"ballast resume {GROUP} --yes")
    tour.run(f"ballast update workers {GROUP} --dry-run")
    tour.run(f"ballast rollback {GROUP}")
    tour.run(f"ballast export {GROUP}")


def brake(tour: Tour) -> None:
    """At 03:00."""
    tour.say("## At 03:00")
    tour.run("ballast freeze")
    tour.run("ballast status")
    tour.run("ballast unfreeze --yes")


def break_it(tour: Tour) -> None:
    """Faults of the local market."""
    tour.say("## Break the local market")
    tour.run("ballast chaos")
    tour.run("ballast chaos empty-list")
    time.sleep(6)
    tour.run("ballast status")
    tour.run("ballast chaos empty-list --off")


def leave(tour: Tour) -> None:
    """Nothing is left."""
    tour.say("## Leave nothing behind")
    tour.run("ballast delete key $SHOP_KEY_ID --yes")
    tour.run(f"ballast destroy {GROUP} --wait --yes")
    tour.run("ballast spend --days 1")
    tour.run("ballast panic --yes")
    tour.say("The same without the deployment, with the owner's own keys to AWS and Vast:")
    tour.environment = {**tour.system.environment, **tour.environment}
    tour.run("ballast panic --direct --stage dev --yes")
    tour.run("ballast panic --clear --yes")
    tour.run("ballast adopt")
    tour.run("ballast status")


def _write_yaml(home: Path, template: str) -> str:
    path = home / "group.yaml"
    path.write_text(
        f"""\
endpoint_name: {GROUP}
min_load: 100
max_usd_per_hour: 3.0
schedules:
  - {{cron: "0 8 * * mon-fri", duration: 10h, min_load: 500}}
autogroups:
  - {{template_hash: {template}, weight: 1}}
  - {{template_hash: {template}, search_params: "gpu_name=RTX_4090", weight: 1, test_workers: 1}}
""",
        encoding="utf-8",
    )
    return str(path)


def _group_id(owner: Owner) -> int:
    return next(int(row["id"]) for row in owner.groups() if row["endpoint_name"] == GROUP)


def _n_loaded(owner: Owner) -> int:
    return sum(
        row["measured_perf"] > 0 and row["loaded_at"] > 0 for row in owner.workers(_group_id(owner))
    )


if __name__ == "__main__":
    main()
