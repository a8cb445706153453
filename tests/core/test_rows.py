"""A worker's row with some fields changed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from chalicelib.core.model.worker import Worker, WorkerState, replaced

ROW = Worker(
    endpoint_id=1, instance_id=2, autogroup_id=3, created_at=4.0, state=WorkerState.READY, perf=5.0
)


def test_a_changed_row_is_what_dataclasses_make_of_it() -> None:
    for field in fields(Worker):
        change: dict[str, Any] = {field.name: object()}
        assert replaced(ROW, **change) == replace(ROW, **change)
    assert replaced(ROW) == ROW
    assert ROW.perf == 5.0


def test_a_row_has_no_other_fields() -> None:
    with pytest.raises(KeyError, match="prf"):
        replaced(ROW, prf=1.0)
