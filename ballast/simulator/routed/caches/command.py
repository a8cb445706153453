"""`python -m ballast.simulator caches`: routing by affinity against its rivals, and its goals.

    python -m ballast.simulator caches --trace mooncake_conversation_blocks.csv.gz

Without a trace a synthetic hour is played. Prefill reads 8,000 tokens a second and worker, load is
0.05 x prompt + output tokens, `--load` is uncached work by what the fleet can do. The product's
routers work as in the hot function: three of them, views up to two seconds old, paced clients; the
rivals know everything at once. docs/internals/affinity.md has the table and what is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ballast.simulator.routed.caches.prompts import Prompt, read_prompts, synthetic, with_turns
from ballast.simulator.routed.caches.scenes import LATE_S, POLICIES, Scene, Score, play
from ballast.simulator.routed.caches.worker import N_SLOTS
from ballast.simulator.world.traces import TraceError

HIT_GOAL = 0.95  # of the omniscient router's hit share
WAIT_GOAL = 1.05  # of p99 to the first token without affinity
FIRST_TOKEN_GOAL = 0.8  # of the mean time to the first token without affinity
COST_GOAL = 0.92  # of the workers needed without affinity, at 4,000 blocks


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of ours as a ratio to a rival's, and what it should be; None: reported only."""

    name: str
    ratio: float
    most: float | None = None
    least: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is as it should be."""
        over = self.most is not None and self.ratio > self.most
        return not over and not (self.least is not None and self.ratio < self.least)


def goals(scene: Scene, scores: dict[str, Score]) -> Iterator[Goal]:
    """What the scene's scores are to each other."""
    ours, none, best = scores["ours"], scores["none"], scores["omniscient"]
    yield Goal("hits by omniscient's", ours.hit_share / best.hit_share, least=HIT_GOAL)
    p99 = ours.p99_first_token_s / none.p99_first_token_s
    yield Goal("p99 to first token by none's", p99, most=WAIT_GOAL)
    mean = ours.mean_first_token_s / none.mean_first_token_s
    is_judged = scene.n_blocks >= 4_000 or (scene.n_blocks >= 800 and scene.n_workers >= 30)
    most = FIRST_TOKEN_GOAL if is_judged else None
    yield Goal("mean to first token by none's", mean, most=most)


def workers_needed(scene: Scene, prompts: Sequence[Prompt], policy: str, late_share: float) -> int:
    """The fewest workers with which no more requests wait for long, on the very same requests."""
    low, high = 1, scene.n_workers
    while low < high:
        n = (low + high) // 2
        load = scene.load * scene.n_workers / n
        score = play(replace(scene, n_workers=n, load=load), prompts, policy)
        if score.late_share <= late_share:
            high = n
        else:
            low = n + 1
    return high


def scenes(options: argparse.Namespace) -> list[Scene]:
    """Every case of the options, then the moving fleet."""
    plain = [
        Scene(
            load=load,
            n_workers=n,
            n_blocks=blocks,
            n_slots=options.slots,
            is_hot=is_hot,
            seed=options.seed,
        )
        for is_hot in (False, True)
        for n in options.workers
        for blocks in options.blocks
        for load in options.load
    ]
    scaled = [
        replace(scene, is_scaled=True)
        for scene in plain
        if not scene.is_hot and scene.n_workers == max(options.workers)
    ]
    return plain + scaled


def main(arguments: list[str]) -> int:
    """Print the table; the exit code is 1 if a goal is missed, 2 for an unusable trace."""
    options = _parser().parse_args(arguments)
    try:
        prompts = read_prompts(options.trace) if options.trace else synthetic(12_000, options.seed)
    except (OSError, TraceError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    prompts = with_turns(prompts[options.skip :][: options.requests])
    cases = scenes(options)
    is_fine = True
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {
            (scene, policy): pool.submit(play, scene, prompts, policy)
            for scene in cases
            for policy in POLICIES
        }
        for scene in cases:
            scores = {policy: jobs[scene, policy].result() for policy in POLICIES}
            is_fine &= _show(scene, scores, print_json=options.json)
        if options.cost:
            is_fine &= _cost(cases, prompts)
    return int(not is_fine)


def _show(scene: Scene, scores: dict[str, Score], *, print_json: bool) -> bool:
    judged = list(goals(scene, scores))
    if print_json:
        figures = {policy: asdict(score) for policy, score in scores.items()}
        print(json.dumps({"scene": asdict(scene), "scores": figures}), flush=True)
    else:
        print(scene.name)
        for score in scores.values():
            print(
                f"  {score.policy:13} hits {100 * score.hit_share:5.1f} %"
                f"  first token {score.mean_first_token_s:6.2f} s,"
                f" p99 {score.p99_first_token_s:6.2f}"
                f"  wait {score.mean_wait_s:6.2f} s, p99 {score.p99_wait_s:6.2f}"
            )
        words = [f"{g.name} {g.ratio:.3f}{'' if g.is_met else ' MISSED'}" for g in judged]
        print(f"  {'; '.join(words)}", flush=True)
    return all(goal.is_met for goal in judged)


def _cost(cases: Sequence[Scene], prompts: Sequence[Prompt]) -> bool:
    """Workers needed with and without, at 4,000 blocks and the higher load, evenly served."""
    is_fine = True
    for scene in cases:
        if scene.n_blocks < 4_000 or scene.is_hot or scene.is_scaled:
            continue
        late = play(scene, prompts, "none").late_share
        n = workers_needed(scene, prompts, "ours", late)
        goal = Goal("workers by none's", n / scene.n_workers, most=COST_GOAL)
        is_fine &= goal.is_met
        print(
            f"{scene.name}: as late as without ({100 * late:.2f} % after {LATE_S:g} s) with {n} of "
            f"{scene.n_workers} workers{'' if goal.is_met else ' MISSED'}",
            flush=True,
        )
    return is_fine


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ballast.simulator caches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--trace", type=Path, help="t_s,prompt_tokens,output_tokens,block_ids; absent: synthetic")
    add("--requests", type=int, help="only the first of the trace, or after those skipped")
    add("--skip", type=int, default=0, help="the trace without its first: to judge on the rest")
    add("--workers", type=int, nargs="+", default=[8, 30])
    add(
        "--blocks", type=int, nargs="+", default=[128, 800, 4_000], help="that a cache has room for"
    )
    add("--slots", type=int, default=N_SLOTS, help="requests that a worker serves at a time")
    add("--load", type=float, nargs="+", default=[0.6, 0.85])
    add("--cost", action="store_true", help="also the workers needed at equal lateness (slow)")
    add("--seed", type=int, default=0)
    add("--processes", type=int, default=os.cpu_count() or 1)
    add("--json", action="store_true", help="a line of scores for each scene")
    return parser
