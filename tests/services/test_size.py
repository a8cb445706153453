"""Size: large groups over tables whose partitions serve what DynamoDB's do, in virtual time."""

from __future__ import annotations

import pytest

from fakes.aws.partitions import NEW_TABLE_PARTITIONS, PARTITION_WRITES
from tests.services.metropolis import PREFIX, Metropolis

MAX_REFUSED = 0.01
ROWS = f"UpdateItem {PREFIX}-workers"


def test_two_hundred_workers_are_granted_a_thousand_requests_a_second_on_a_new_table() -> None:
    """Under one partition key their rows would take a thousand writes a second, reports and all."""
    town = Metropolis(
        n_workers=200, grants_per_s=1_000, warm=NEW_TABLE_PARTITIONS, n_routers=12, seed=3
    )
    town.begin()
    for rate in (100, 300, 600, 1_000):  # a ramp of eight seconds
        town.run(2.0, rate)
    town.forget()
    town.run(2.0, 1_000)
    assert town.dynamodb.calls[ROWS] / 2.0 > 1.2 * PARTITION_WRITES
    assert town.share_refused <= MAX_REFUSED, (town.refused, town.dynamodb.throttled)
    assert not town.reports_refused


@pytest.mark.long
def test_a_thousand_workers_are_granted_five_thousand_requests_a_second() -> None:
    """Table warmed to 16,000 writes a second and a quarter of an hour of such load, then 120 s."""
    city = Metropolis(n_workers=1_000, grants_per_s=5_000, warm=16)
    city.ramp(900, writes_per_s=8_000)
    city.begin()
    for rate in (250, 500, 1_000, 2_000, 3_000, 4_000, 5_000):
        city.run(4.0, rate)
    city.forget()
    city.run(120.0, 5_000)
    assert city.asked == 600_000
    assert city.share_refused <= MAX_REFUSED, (city.refused, city.dynamodb.throttled)
    assert city.reports_refused <= MAX_REFUSED * 120_000
