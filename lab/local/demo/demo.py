"""`python -m lab.local demo`: the main job in three minutes, with a picture and a day's bill."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import requests
from rich.console import Console

from ballast.client.sdk import Client
from ballast.client.sse import event_data
from lab.local.demo.demo_day import simulate_day
from lab.local.demo.demo_picture import draw
from lab.local.demo.demo_replay import Replay
from lab.local.demo.demo_samples import Recorder, Sample
from lab.local.demo.demo_screen import Screen
from lab.local.demo.demo_summary import day_table, outcome_of, summary_table
from lab.local.demo.demo_tickets import forged_and_replayed
from lab.local.demo.demo_trace import SLICE_S, read_trace
from lab.local.processes.children import ChildError
from lab.local.system.environment import RealCredentialsError
from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.owner import MarketView, NotYetError, Owner, RefusedError, patiently
from lab.local.system.templates import OPENAI_SMOLLM2, TGI_SIMULATED_8B, register_templates
from lab.local.system.up import end_by_signals

SEED_GROUP = "TGI-Llama3"
SEED_PARAMS = {
    "cold_mult": 1.0,
    "min_load": 100,
    "target_util": 0.9,
    "max_workers": 20,
    "cold_workers": 5,
}
SEED_TEST_WORKERS = 5
REAL_MODEL_GROUP = "SmolLM2"
QUESTION = "What is the best movie of all time?"

TIME_SCALE = 30.0
TRACE_SPEED = 2.0
KEEP_EVERY = 4  # as many as this machine can play the clients of, beside all the rest
LOADING_TIMEOUT_S = 240.0  # ten seconds are usual; a machine may be busy
LOOK_INTERVAL_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="for the picture")
    parser.add_argument("--seed", type=int, default=1, help="of the market's dice")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="of the trace; default: all of it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; gives the exit status."""
    end_by_signals()
    console = Console()
    console.rule("[bold]Ballast[/]: the main job on this machine")
    console.print(
        "Market, machines and the Llama are simulated; the market's delays and bills run "
        f"{TIME_SCALE:g} times as fast.\n"
        "Control plane, workers, tickets, HTTP and the small language model are real. "
        "No real money can be spent.",
        highlight=False,
    )
    options = Options(time_scale=TIME_SCALE, round_interval_s=1.0, seed=arguments.seed)
    try:
        with local_system(options, lambda text: console.print(f"• {text}")) as system:
            Demo(system, console, arguments).run()
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 130
    except (RefusedError, requests.RequestException) as error:
        console.print(f"[red]error:[/] {error}\nIs this machine very busy? Run it again later.")
        return 1
    except (RealCredentialsError, ChildError, NotYetError) as error:
        console.print(f"[red]error:[/] {error}")
        return 1
    return 0


class Demo:
    """The main job, step by step."""

    def __init__(
        self, system: LocalSystem, console: Console, arguments: argparse.Namespace
    ) -> None:
        self._system = system
        self._owner = Owner(system.url, system.account_key)
        self._market = MarketView(system.market_url)
        self._client = Client(system.account_key, system.url)
        self._screen = Screen(console)
        self._out: Path = arguments.out
        self._seconds: float = arguments.seconds

    def run(self) -> None:
        """Every step."""
        endpoint_id, real_id = self._create_groups()
        recorder = Recorder(self._owner, self._market, endpoint_id)
        with self._screen:
            self._watch(recorder, lambda sample: sample.n_ready > 0, "a worker is ready")
            self._show_tickets()
            self._watch(
                recorder,
                lambda _: bool(
                    patiently(lambda: self._owner.ready_workers(real_id), LOADING_TIMEOUT_S)
                ),
                "a worker with the real model is ready",
            )
        self._show_real_model()
        with self._screen:
            replay, since = self._replay(recorder)
        self._finish(replay, recorder, since)

    def _create_groups(self) -> tuple[int, int]:
        """The seed's group, and one for the real model; gives their ids."""
        hashes = register_templates(self._system.market_url)
        endpoint_id = self._create_group(SEED_GROUP, **SEED_PARAMS)
        self._create_autogroup(SEED_GROUP, hashes[TGI_SIMULATED_8B.name], SEED_TEST_WORKERS)
        given = " ".join(f"--{name} {value}" for name, value in SEED_PARAMS.items())
        self._screen.say(f"✔ created endpoint group {SEED_GROUP}: {given}")
        self._screen.say(f"✔ created its autogroup: --test_workers {SEED_TEST_WORKERS}")
        real_id = self._create_group(REAL_MODEL_GROUP, min_load=1.0, max_workers=1, cold_workers=0)
        self._create_autogroup(REAL_MODEL_GROUP, hashes[OPENAI_SMOLLM2.name], 1)
        return endpoint_id, real_id

    def _create_group(self, name: str, **params: float) -> int:
        """The group, also if the answer to its creation was lost on a busy machine."""

        def create() -> int:
            known = {row["endpoint_name"]: int(row["id"]) for row in self._owner.groups()}
            return known.get(name) or self._owner.create_group(name, **params)

        return patiently(create, LOADING_TIMEOUT_S)

    def _create_autogroup(self, name: str, template_hash: str, n_test_workers: int) -> None:
        def create() -> None:
            rows = self._owner.call("GET", "/api/v0/autojobs/")["results"]
            if all(row["endpoint_name"] != name for row in rows):
                self._owner.create_autogroup(name, template_hash, test_workers=n_test_workers)

        patiently(create, LOADING_TIMEOUT_S)

    def _watch(self, recorder: Recorder, is_done: Callable[[Sample], bool], what: str) -> None:
        """Show workers being found, loading and ready until something holds.

        Raises:
            NotYetError: it does not in time.
        """
        ends_at = time.monotonic() + LOADING_TIMEOUT_S
        seen: dict[str, int] = {}
        while not is_done(sample := recorder.sample()):
            self._screen.show(sample)
            for status, n_workers in sample.n_by_status.items():
                if n_workers > seen.get(status, 0):
                    self._screen.say(f"  {sample.at_s:5.1f} s  {n_workers} {status}")
                    seen[status] = n_workers
            if time.monotonic() > ends_at:
                raise NotYetError(f"{what}: not within {LOADING_TIMEOUT_S:g} s; {seen}")
            time.sleep(LOOK_INTERVAL_S)
        self._screen.say(f"✔ {what} ({sample.at_s:.1f} s)")

    def _show_tickets(self) -> None:
        forged, honest, replayed = forged_and_replayed(self._owner, SEED_GROUP)
        self._screen.say(
            f"✔ tickets: honest one {honest}, forged one refused with {forged}, "
            f"replayed one refused with {replayed}"
        )

    def _show_real_model(self) -> None:
        """One answer of the real model, token by token."""
        console = self._screen.console
        console.print(f"\n[bold]{QUESTION}[/]  (SmolLM2-135M on this CPU, a real model)")
        payload = {
            "model": "smollm2",
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 64,
            "stream": True,
        }
        with self._client.stream(
            REAL_MODEL_GROUP, "/v1/chat/completions", payload, cost=64, timeout_s=60.0
        ) as answer:
            for data in event_data(answer.chunks()):
                if data != "[DONE]":
                    choices = json.loads(data)["choices"]
                    text = choices[0]["delta"].get("content") if choices else None
                    console.print(text or "", end="", highlight=False, markup=False)
        console.print("\n")

    def _replay(self, recorder: Recorder) -> tuple[Replay, float]:
        """The trace with its calms; gives the replay and when it began."""
        requests = read_trace(speed=TRACE_SPEED, keep_every=KEEP_EVERY, seconds=self._seconds)
        replay = Replay(self._client, SEED_GROUP, requests)
        self._screen.say(
            f"▶ replaying {len(requests)} requests of a real trace (Azure, code completion, "
            f"CC BY 4.0): {TRACE_SPEED:g} times as fast, every {KEEP_EVERY}th request of it"
        )
        began_at_s = recorder.sample(replay).at_s
        replay.start()
        ends_at = time.monotonic() + min(SLICE_S / TRACE_SPEED, self._seconds)
        while replay.is_running or time.monotonic() < ends_at:
            self._screen.show(recorder.sample(replay), replay)
            time.sleep(LOOK_INTERVAL_S)
        return replay, began_at_s

    def _finish(self, replay: Replay, recorder: Recorder, since_s: float) -> None:
        """The summary and the picture."""
        tally = replay.tally()
        during = [sample for sample in recorder.samples if sample.at_s >= since_s]
        outcome = outcome_of(tally, during, replay.requests, TIME_SCALE)
        self._screen.console.print(summary_table(outcome, tally.failures))
        picture = self._out / "demo.png"
        draw(recorder.samples, picture, f"{SEED_GROUP}: a real trace on the local system")
        self._screen.say(f"picture: [bold]{picture.resolve()}[/]")
        self._screen.say("▶ simulating a whole day, with the same scaling law, in seconds")
        self._screen.console.print(day_table(simulate_day()))
