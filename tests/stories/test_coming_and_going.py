"""Troubles that come and go are told; and whoever asks why hears of what stands in the way."""

from __future__ import annotations

from chalicelib.services.owner.views.explanation import explain_round
from tests.stories.day import OWNER, Day


def test_a_list_that_is_good_every_other_minute_is_told_and_not_each_minute() -> None:
    day = Day()
    group = day.group()
    day.minutes(5, 2, of=group, rounds=6)
    for _ in range(20):
        day.world.market.switch_on("html-list", day.world.now)
        day.minutes(1, 1, of=group)
        day.world.market.switch_off("html-list", day.world.now)
        day.minutes(1, 1, of=group)
    begun_twice = ["inventory_unknown", "inventory_unknown_over", "inventory_unknown"]
    assert day.told("inventory_unknown") == begun_twice
    day.minutes(7, 1, of=group)
    assert day.told("inventory_unknown") == [*begun_twice, "inventory_unknown_over"]
    assert day.world.n_waiting == 0
    day.ends()


def test_offers_that_come_and_go_are_told_while_a_client_waits() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    nobody, anybody = ({"gpu_name": {"eq": name}} for name in ("RTX 0000", "RTX 4090"))
    day.change_autogroup(group, search_query=nobody)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(6, rounds=2)
    assert "no_offers" in day.troubles()
    why = explain_round(day.world.owner_ports, OWNER, "last", group.endpoint_id)
    assert "In the way now: " in str(why["sentences"])
    assert "no offer of Vast's fits" in str(why["troubles"])
    day.change_autogroup(group, search_query=anybody)
    day.minutes(8, rounds=6)
    assert day.world.n_waiting == 0
    assert day.told("no_offers") == ["no_offers", "no_offers_over"]
    why = explain_round(day.world.owner_ports, OWNER, "last", None)
    assert why["troubles"] == []
    day.ends()
