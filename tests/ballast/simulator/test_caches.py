"""The simulated caches: what a worker does, and that affinity finds them as the table says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ballast.simulator.routed.caches.command import goals, main
from ballast.simulator.routed.caches.prompts import (
    BLOCK_TOKENS,
    HOT_BLOCKS,
    Prompt,
    at_load,
    read_prompts,
    synthetic,
    with_hot_key,
)
from ballast.simulator.routed.caches.scenes import POLICIES, Scene, play
from ballast.simulator.routed.caches.worker import N_SLOTS, PERF, BlockCache, CachingWorker, Job
from ballast.simulator.world.traces import TraceError


def test_a_cache_drops_what_was_used_longest_ago_and_first_blocks_last() -> None:
    cache = BlockCache(4)
    assert cache.use((1, 2, 3)) == 0
    assert cache.use((1, 2, 9)) == 2
    assert cache.hits((1, 2, 3)) == 3
    cache.use((1, 7))  # the oldest is 3
    assert cache.hits((1, 2, 3)) == 2
    cache.use((20, 21, 22, 23, 24, 25))
    assert cache.hits((20, 21, 22, 23, 24)) == 4


def test_a_worker_reads_one_prompt_at_a_time_and_shares_its_speed_among_answers() -> None:
    worker = CachingWorker(1, BlockCache(100))
    prompt = Prompt(0.0, 8_000, 400, tuple(range(16)))
    for request in (1, 2):
        worker.take(Job(request, prompt), 0.0)
    assert worker.first_token_s(None, 0.0) == pytest.approx(
        1.0 + (8_000 - 15 * 512) / 8_000, abs=0.1
    )
    ends = play_out(worker)
    first, second = ends[1][0], ends[2][0]
    assert first.first_token_at == pytest.approx(1.0)
    assert second.n_hits == 16  # what the first one brought
    assert second.first_token_at - first.first_token_at < 0.1
    assert ends[2][1] == pytest.approx(second.first_token_at + 800 / PERF, abs=0.01)


def test_more_than_its_slots_wait_in_their_order_and_the_forecast_is_what_comes() -> None:
    worker = CachingWorker(1, BlockCache(1))
    jobs = [Job(i, Prompt(0.0, 800, 100 + i, (100 + i,))) for i in range(N_SLOTS + 3)]
    for job in jobs[:-1]:
        worker.take(job, 0.0)
    forecast = worker.first_token_s(jobs[-1].prompt, 0.0)
    worker.take(jobs[-1], 0.0)
    ends = play_out(worker)
    starts = [ends[i][0].started_at for i in range(N_SLOTS + 3)]
    assert starts == sorted(starts)
    assert starts[N_SLOTS] >= min(end for _, end in ends.values())
    assert jobs[-1].first_token_at == pytest.approx(forecast, rel=0.01)


def play_out(worker: CachingWorker) -> dict[int, tuple[Job, float]]:
    """Each request's job and end."""
    ends = {}
    while (at := worker.next_event_at()) is not None:
        ends.update({job.request: (job, at) for job in worker.proceed(at)})
    assert not worker.in_flight
    return ends


@pytest.mark.parametrize("is_scaled", [False, True])
def test_affinity_finds_what_is_cached_and_nobody_waits_longer_for_it(is_scaled: bool) -> None:
    prompts = synthetic(1_000, seed=0)
    scene = Scene(load=0.6, n_workers=8, n_blocks=4_000, n_slots=8, is_scaled=is_scaled)
    policies = ("none", "ours", "omniscient")
    scores = {policy: play(scene, prompts, policy) for policy in policies}
    assert all(score.n_unserved == 0 for score in scores.values())
    assert scores["ours"].hit_share > 1.5 * scores["none"].hit_share
    assert all(goal.is_met for goal in goals(scene, scores)), list(goals(scene, scores))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_serves_a_fleet_that_changes(policy: str) -> None:
    prompts = synthetic(200, seed=2)
    scene = Scene(load=0.6, n_workers=10, is_scaled=True, is_hot=True)
    score = play(scene, prompts, policy)
    assert score.n_unserved == 0
    assert score == play(scene, prompts, policy)


def test_a_hot_key_is_served_by_many() -> None:
    prompts = synthetic(500, seed=4)
    scene = Scene(load=0.8, n_workers=6, n_blocks=800, is_hot=True)
    ours, none = (play(scene, prompts, policy) for policy in ("ours", "none"))
    assert ours.p99_first_token_s <= 1.05 * none.p99_first_token_s
    assert ours.hit_share > none.hit_share


def test_one_key_for_all_requests_drowns_no_worker() -> None:
    """Where caches tell requests apart no more: it spreads, and nobody waits as if stuck."""
    prompts = with_hot_key(synthetic(400, seed=4), 1.0, 4)
    scene = Scene(load=0.85, n_workers=8)
    scores = {policy: play(scene, prompts, policy) for policy in ("ours", "none", "sticky")}
    assert scores["ours"].n_unserved == 0
    assert scores["ours"].p99_first_token_s <= 1.5 * scores["none"].p99_first_token_s
    assert scores["ours"].p99_first_token_s <= 0.1 * scores["sticky"].p99_first_token_s


def test_the_synthetic_hour_is_like_a_chat_service_and_the_same_for_a_seed() -> None:
    prompts = synthetic(3_000, seed=0)
    assert prompts == synthetic(3_000, seed=0) != synthetic(3_000, seed=1)
    mean_tokens = sum(p.prompt_tokens for p in prompts) / len(prompts)
    assert 8_000 < mean_tokens < 16_000
    turns = len(prompts) / len({p.conversation for p in prompts})
    assert 1.4 < turns < 1.8
    assert all(p.kept_tokens <= p.prompt_tokens for p in prompts)
    scaled = at_load(prompts, 10 * PERF, 0.6)
    span_s = scaled[-1].at - scaled[0].at
    assert sum(p.load for p in scaled) / span_s == pytest.approx(0.6 * 10 * PERF)


def test_a_hot_key_takes_its_share_of_the_requests() -> None:
    prompts = with_hot_key(synthetic(2_000, seed=0), 0.2, seed=0)
    hot = [p for p in prompts if p.blocks[1:2] == (-HOT_BLOCKS,)]
    assert 0.17 < len(hot) / len(prompts) < 0.23
    assert max(p.kept_tokens for p in hot) >= (1 + HOT_BLOCKS) * BLOCK_TOKENS


def test_a_trace_is_read_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("t_s,prompt_tokens,output_tokens,block_ids\n0,900,5,0 1\n2,1400,6,0 1 2\n")
    first, second = read_prompts(path)
    assert (first.blocks, first.kept_tokens, second.kept_tokens) == ((0, 1), 0, 1024)
    assert replace(second, at=0.0).load == pytest.approx(76.0)
    path.write_text("t_s,load\n0,1\n")
    with pytest.raises(TraceError, match="columns: t_s, prompt_tokens"):
        read_prompts(path)
    assert main(["--trace", str(path)]) == 2
