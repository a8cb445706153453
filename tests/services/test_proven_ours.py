"""To destroy unasked, table and label must both say that a machine is ours, or its own reports."""

from __future__ import annotations

import pytest

from chalicelib.adapters.vast.rows import parse_instance
from chalicelib.core.model.worker import Worker
from chalicelib.services.rounds.applying import is_proven_ours

TOKEN = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("label", "reported_at", "is_unconfirmed", "is_ours"),
    [
        (f"llm - {TOKEN}", 0.0, False, True),
        (f"my note: {TOKEN} (busy)", 0.0, False, True),
        ("training run", 0.0, False, False),
        ("training run", 5.0, False, True),  # it knew the token that only our create carried
        (None, 0.0, False, True),  # Vast lost the label: ours by the id that its create named
        (f"llm - {TOKEN}", 5.0, True, False),  # the row itself came from the label
    ],
)
def test_who_may_be_destroyed(
    label: str | None, reported_at: float, is_unconfirmed: bool, is_ours: bool
) -> None:
    worker = Worker(
        endpoint_id=1, instance_id=7, autogroup_id=2, created_at=1.0, token=TOKEN,
        reported_at=reported_at, is_unconfirmed=is_unconfirmed,
    )  # fmt: skip
    assert is_proven_ours(worker, parse_instance({"id": 7, "label": label})) is is_ours


def test_what_is_not_listed_may_be_told_to_go() -> None:
    worker = Worker(endpoint_id=1, instance_id=7, autogroup_id=2, created_at=1.0, token=TOKEN)
    assert is_proven_ours(worker, None)
