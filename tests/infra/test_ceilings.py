"""The table of ceilings in docs/aws.md is the command's, and agrees with its premises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest

from fakes.aws import functions, kms, partitions
from infra import ceilings
from infra.ceilings import ceilings as all_ceilings
from infra.ceilings import table, warm_command, warming_advice
from infra.throttles import ACCOUNT_PER_S, throttles_for
from lab.bench.cost import Assumptions

GUIDE = Path(__file__).parent.parent.parent / "docs" / "aws.md"


def test_the_guide_has_the_table_of_the_command() -> None:
    assert table() in GUIDE.read_text()


def test_constants_are_those_of_the_emulator_and_of_the_costs() -> None:
    assumed = Assumptions()
    assert assumed.attempts_per_grant == ceilings.ATTEMPTS
    assert (assumed.route_ms_wrapped, assumed.report_ms) == (
        1000 * ceilings.ROUTE_S,
        1000 * ceilings.REPORT_S,
    )
    assert partitions.PARTITION_WRITES == ceilings.PARTITION_WRITES
    assert partitions.NEW_TABLE_PARTITIONS * ceilings.PARTITION_WRITES == ceilings.NEW_TABLE_WRITES
    assert functions.NEW_ACCOUNT_CONCURRENCY == ceilings.NEW_ACCOUNT_EXECUTIONS
    assert kms.SYMMETRIC_PER_S == ceilings.KMS_PER_S


def test_the_edge_takes_the_peak_that_the_table_says_and_none_above() -> None:
    (edge,) = (one for one in all_ceilings() if one.what == "the edge")
    throttles_for(edge.limit, concurrency=1_000)
    with pytest.raises(ValueError, match=f"1 to {edge.limit}.*--api-quota"):
        throttles_for(edge.limit + 1, concurrency=1_000)
    wide = throttles_for(5_000, concurrency=1_000, api_quota=2 * ACCOUNT_PER_S)
    assert wide.route.rate == 15_000


def test_a_peak_that_a_new_table_does_not_serve_is_told_with_the_command() -> None:
    assert warming_advice("prod", 200) == ""
    assert warm_command("prod", 2_500) in warming_advice("prod", 2_500)


def test_dynamodb_takes_the_command_as_printed() -> None:
    """Its arguments are those of the service's own model."""
    words = warm_command("prod", 2_500).split()
    model = boto3.client("dynamodb", region_name="us-east-1").meta.service_model
    shape: Any = model.operation_model("UpdateTable").input_shape
    units = dict(part.split("=") for part in words[words.index("--warm-throughput") + 1].split(","))
    assert set(units) == set(shape.members["WarmThroughput"].members)
    assert int(units["WriteUnitsPerSecond"]) == 11_000
