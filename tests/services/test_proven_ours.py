"""To destroy unasked, table and label must both say that a machine is ours (security.md T21)."""

from __future__ import annotations

import pytest

from chalicelib.adapters.vast.rows import parse_instance
from chalicelib.core.fleet.observation import lacks_token
from chalicelib.core.model.worker import Worker
from chalicelib.services.rounds.applying import may_go

TOKEN = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("label", "is_restored", "is_confirmed", "unasked", "in_panic"),
    [
        (f"llm - {TOKEN}", False, False, True, True),
        (f"my note: {TOKEN} (busy)", False, False, True, True),
        ("training run", False, False, False, False),
        ("llm - fedcba9876543210fedcba98", False, False, False, False),  # another rental's
        ("", False, False, False, False),  # Vast lost it, or its owner emptied it
        (None, False, False, False, False),
        ("training run", False, True, True, True),  # the owner has said so
        (f"llm - {TOKEN}", True, False, False, True),  # the row itself came from the label
        (f"llm - {TOKEN}", True, True, True, True),
    ],
)
def test_who_may_be_destroyed(
    label: str | None, is_restored: bool, is_confirmed: bool, unasked: bool, in_panic: bool
) -> None:
    record = parse_instance({"id": 7, "label": label})
    worker = Worker(endpoint_id=1, instance_id=7, autogroup_id=2, created_at=1.0, token=TOKEN)
    row = Worker(
        endpoint_id=1, instance_id=7, autogroup_id=2, created_at=1.0, token=TOKEN,
        reported_at=5.0, is_unconfirmed=is_restored, is_confirmed=is_confirmed,
        is_mislabelled=lacks_token(worker, record),
    )  # fmt: skip
    assert may_go(row, is_panicking=False) is unasked
    assert may_go(row, is_panicking=True) is in_panic
