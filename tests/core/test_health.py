"""What an operator is told first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.troubles import LastingTrouble, TroubleKind
from chalicelib.services.owner.views.health import Health, HealthFacts, judge_health


def judged(**facts: object) -> tuple[Health, tuple[str, ...]]:
    """The verdict on a calm group with these facts."""
    values: dict[str, object] = {
        "n_ready": 2, "n_waiting": 0, "n_in_error": 0, "n_unreachable": 0, "n_loading": 0,
        "ready_capacity": 100.0, "hot_target": 90.0, "n_started": 100.0, "n_late": 0.0,
        "allowed_late_share": 0.01,
        "cap_used": 0.5, "queue_time_s": 1.0, "target_queue_time_s": 10.0, **facts,
    }  # fmt: skip
    verdict = judge_health(HealthFacts(**values))  # type: ignore[arg-type]  # names are real
    return verdict.health, verdict.reasons


def test_a_calm_group_is_well_and_says_nothing() -> None:
    assert judged() == (Health.OK, ())


@pytest.mark.parametrize(
    ("facts", "health"),
    [
        ({"n_waiting": 1, "n_ready": 0, "ready_capacity": 0.0}, Health.BAD),
        ({"n_ready": 0, "ready_capacity": 0.0}, Health.BAD),  # 0 ready of wanted
        ({"n_ready": 0, "ready_capacity": 0.0, "hot_target": 0.0}, Health.OK),  # at rest
        ({"cap_used": 1.0}, Health.BAD),
        ({"queue_time_s": 21.0}, Health.BAD),
        ({"n_waiting": 1}, Health.OK),
        ({"cap_used": 0.95}, Health.WARN),
        ({"n_late": 5.0}, Health.WARN),
        ({"n_late": 5.0, "n_started": 1000.0}, Health.OK),  # as many as are allowed
        ({"n_late": 1.0, "n_started": 2.0}, Health.OK),  # a first request, of a cold start
        ({"n_in_error": 1}, Health.WARN),
        ({"n_unreachable": 1}, Health.WARN),
        ({"is_held": "frozen"}, Health.WARN),
        ({"ready_capacity": 10.0, "n_loading": 2}, Health.WARN),
    ],
)
def test_the_worst_fact_decides(facts: dict[str, object], health: Health) -> None:
    assert judged(**facts)[0] is health


def test_what_the_owner_switched_off_is_shown_and_alarms_nobody_but_real_trouble_does() -> None:
    off = {"is_off": "suspended", "n_ready": 0, "ready_capacity": 0.0, "n_waiting": 3}
    assert judged(**off, queue_time_s=100.0) == (Health.OK, ("suspended",))
    assert judged(is_off="suspended", ready_capacity=10.0) == (Health.OK, ("suspended",))
    health, reasons = judged(**off, cap_used=1.0, n_in_error=1)
    assert health is Health.BAD
    mended = "1 worker in error; each is rebooted once, then replaced within the caps"
    assert reasons == ("a spending cap is reached", mended, "suspended")


def test_a_reached_cap_is_said_once_with_what_it_would_take() -> None:
    said = "a spending cap is reached (the group's max_usd_per_hour): $0.19 of $0.01 is in use"
    cap = LastingTrouble(kind=TroubleKind.CAP_REACHED, scope="account", since=1.0, message=said)
    assert judged(cap_used=1.2, troubles=[cap]) == (Health.BAD, (said,))
    credit = replace(cap, kind=TroubleKind.NO_CREDIT, message="no credit")
    reasons = ("a spending cap is reached", "no credit")
    assert judged(cap_used=1.2, troubles=[credit]) == (Health.BAD, reasons)


def test_reasons_come_worst_first() -> None:
    _, reasons = judged(n_in_error=2, error="CUDA error", cap_used=1.2)
    said = "2 workers in error: CUDA error; each is rebooted once, then replaced within the caps"
    assert reasons == ("a spending cap is reached", said)
