"""Who hosts a machine: its token and root on it, against the log, other workers and the tickets."""

from __future__ import annotations

import base64
import random
from dataclasses import replace
from functools import partial

from chalicelib.core.model.lifecycle import TELL_EVERY_S, TOLD_AT_ONCE, moments_corrected
from fakes.bundles.hot_ports import ENDPOINT_ID
from tests.adversary.game import Action, Game, Script
from tests.adversary.test_perf import MARGIN, N_COUNTED, N_WARM, Fleet, Report
from tests.services.reporter import Reporter
from tests.services.router import make_world
from tests.workers.test_admission import GOOD, IDENTITY, NOW, admit, good_ticket
from workers.pyworker.tickets.admission import Admission, Admitted

N_FUNCTIONS = 4
N_HONEST = 2


def _report(dice: random.Random) -> Action:
    if dice.random() < 0.3:
        return ("wait", dice.choice([0.01, 0.3, 1.5, 6.0, 30.0]))
    fields = {
        "error_msg": dice.choice(["", "", "out of memory", "x" * 400]),
        "max_perf": dice.choice([0.0, 1.0, 100.0, 1e12]),
        "num_requests_recieved": dice.randrange(1_000),
        "id": dice.choice([1, 1, 1, 2, 99]),
    }
    return ("report", dice.randrange(N_FUNCTIONS), tuple(fields.items()))


def log_buried(script: Script) -> float:
    """Lines of one worker in the log, times its budget; a changed line of another's row wins."""
    world = make_world()
    for i in (1, 2):
        world.add_worker(i)
    other = world.workers.rows[ENDPOINT_ID, 2]
    reporters = [Reporter(world) for _ in range(N_FUNCTIONS)]
    began_at = world.clock.now()
    for action in script:
        for _ in range(20):
            if action[0] == "wait":
                world.clock.advance(float(str(action[1])) / 20)
                continue
            _, function, fields = action
            world.clock.advance(0.01)
            reporters[int(str(function))].send(**dict(fields))  # type: ignore[call-overload]
        row = world.workers.rows[ENDPOINT_ID, 1]  # as a round of the scaler leaves it
        corrected = moments_corrected(row, world.clock.now())
        world.workers.rows[ENDPOINT_ID, 1] = replace(row, **corrected)  # type: ignore[arg-type]
    if world.workers.rows[ENDPOINT_ID, 2] != other:
        return float("inf")
    elapsed_s = world.clock.now() - began_at
    return len(world.events.events) / (TOLD_AT_ONCE + 1 + elapsed_s / TELL_EVERY_S)


def _lie(dice: random.Random) -> Action:
    name = dice.choice(
        ["max_perf", "slots", "cur_load", "num_requests_working", "received_load",
         "finished_load", "num_requests_recieved", "rejected_load"]
    )  # fmt: skip
    return (name, dice.choice(["=", "*"]), dice.choice([0, 0.5, 1, 1.27, 2, 8, 1e3, 1e6, 1e12]))


def share_of_liars(script: Script, n_honest: int = N_HONEST, n_liars: int = 1) -> float:
    """The liars' share of the requests, beside honest workers of their speed; they lie alike."""

    def lie(report: Report) -> Report:
        told = dict(report)
        for name, how, value in script:
            was = told.get(str(name), 0.0)
            number = float(str(value)) * (float(str(was)) if how == "*" else 1.0)
            is_whole = str(name) in ("slots", "num_requests_working", "num_requests_recieved")
            told[str(name)] = int(min(number, 1e9)) if is_whole else min(number, 1e14)
        return told

    fleet = Fleet(n_honest, 0.8, lie, n_liars=n_liars)
    fleet.play(N_WARM + N_COUNTED)
    return fleet.share_of_liar(min(N_COUNTED, max(1, len(fleet.granted))))


def _present(dice: random.Random) -> Action:
    visible = dice.choice([(), ("cost", 1e9), ("reqnum", 13), ("url", "https://evil.example")])
    claims = dice.choice(
        [(), ("cost", 1e9), ("instance_id", 4712), ("expires_at", NOW + 1e6), ("reqnum", 13)]
    )
    return ("present", visible, claims, dice.choice([0.0, 0.0, 1.0, 60.0, 181.0, 400.0]))


def tickets_used_twice(script: Script) -> float:
    """Requests let in by one ticket beyond the first; what we did not sign is changed freely."""
    admission, now, n_in = Admission(IDENTITY), NOW, 0
    signed = good_ticket()
    for _, visible, claims, later_s in script:
        now += float(str(later_s))
        ticket = dict(signed)
        if isinstance(claims, tuple) and claims:  # of one's own, under the signature that one has
            forged = replace(GOOD, **{claims[0]: claims[1]})
            ticket["signature"] = _with_blob(str(signed["signature"]), forged.to_bytes())
        if isinstance(visible, tuple) and visible:
            ticket[visible[0]] = visible[1]
        n_in += isinstance(admit(admission, ticket, now), Admitted)
    return float(max(0, n_in - 1))


def _with_blob(signature: str, blob: bytes) -> str:
    raw = base64.b64decode(signature)
    return base64.b64encode(blob + raw[-256:]).decode()


GAMES = (
    Game(role="worker's token", goal="hide", measure="lines in the log, times its budget",
         bound=1.0, draw=_report, play=log_buried, length=20),
    Game(role="root on a worker", goal="lie", measure=f"share of requests beside {N_HONEST} honest",
         bound=1 / (N_HONEST + 1) + MARGIN, draw=_lie, play=share_of_liars, length=4),
    Game(role="root on two workers", goal="lie", measure="share of requests beside 3 honest",
         bound=2 / 5 + 2 * MARGIN, draw=_lie, length=4,
         play=partial(share_of_liars, n_honest=3, n_liars=2)),
    Game(role="root on a worker", goal="spend", measure="requests by a used or changed ticket",
         bound=0.0, draw=_present, play=tickets_used_twice, length=20),
)  # fmt: skip
