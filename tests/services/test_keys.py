"""Callers' keys: derived, scoped, rotated with overlap, revoked; and instances' tokens."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.caller_key import CallerKeyError, parse_key, parse_worker_token
from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.ports.errors import NotFoundError, StorageUnavailableError
from chalicelib.services.keys import (
    ROW_CACHE_S,
    Caller,
    KeyLimits,
    KeyMemory,
    check_key,
    check_worker_token,
    endpoint_key,
    first_admin_key,
    issue_key,
    list_keys,
    revoke_key,
    rotate_key,
    worker_token,
)
from fakes.bundles.hot_ports import HotWorld
from fakes.ports.secret_box import FakeSecretBox


@pytest.fixture
def world() -> HotWorld:
    return HotWorld()


def check(world: HotWorld, text: str, memory: KeyMemory | None = None) -> Caller:
    return check_key(world.ports(), memory or KeyMemory(), text, world.clock.now())


VERBS = ("route", "read", "admin")
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(VERBS, n)]


@pytest.mark.parametrize("verbs", SUBSETS)
@pytest.mark.parametrize("endpoint_id", [None, 7])
def test_a_key_carries_its_scope(
    world: HotWorld, verbs: tuple[str, ...], endpoint_id: int | None
) -> None:
    text, row = issue_key(world.ports(), name="x", verbs=verbs, endpoint_id=endpoint_id)
    caller = check(world, text)
    assert (caller.verbs, caller.endpoint_id, caller.row) == (frozenset(verbs), endpoint_id, row)
    for verb, target in itertools.product(VERBS, (7, 8, None)):
        allowed = verb in verbs and (endpoint_id is None or endpoint_id == target)
        assert caller.may(verb, target) is allowed


def test_every_changed_character_makes_a_key_invalid(world: HotWorld) -> None:
    text, _ = issue_key(world.ports(), name="x", verbs=("route",))
    changes = [text[:i] + ("x" if c != "x" else "y") + text[i + 1 :] for i, c in enumerate(text)]
    for changed in (*changes, text + "\n", " " + text, text.replace(".1.", ".\uff11.")):
        with pytest.raises(CallerKeyError):
            check(world, changed)


def test_a_bad_key_is_refused_before_any_read(world: HotWorld) -> None:
    for text in ("", "blk", "blk.a-r-0.1." + "A" * 43, "x" * 10_000):
        with pytest.raises(CallerKeyError):
            check(world, text)
    assert not world.keys.calls


def test_the_table_holds_nothing_of_a_keys_secret(world: HotWorld) -> None:
    text, _ = issue_key(world.ports(), name="x", verbs=("route",))
    assert text.split(".")[-1] not in repr(world.keys.rows)


def test_a_rotation_keeps_the_old_key_until_it_is_revoked(world: HotWorld) -> None:
    old, row = issue_key(world.ports(), name="x", verbs=("route",))
    new, rotated = rotate_key(world.ports(), row.key_id)
    assert (new != old, rotated.generation) == (True, 2)
    check(world, old)
    check(world, new)
    revoke_key(world.ports(), row.key_id, older_only=True)
    check(world, new)
    with pytest.raises(CallerKeyError, match="revoked"):
        check(world, old)


def test_a_rotation_without_overlap_ends_the_old_key(world: HotWorld) -> None:
    old, row = issue_key(world.ports(), name="x", verbs=("route",))
    rotate_key(world.ports(), row.key_id, keep_old=False)
    with pytest.raises(CallerKeyError):
        check(world, old)


def test_revocation_and_expiry_take_effect(world: HotWorld) -> None:
    text, row = issue_key(world.ports(), name="x", verbs=("route",))
    revoke_key(world.ports(), row.key_id)
    with pytest.raises(CallerKeyError, match="revoked"):
        check(world, text)
    limits = KeyLimits(expires_at=world.clock.now() + 10)
    expiring, _ = issue_key(world.ports(), name="y", verbs=("route",), limits=limits)
    check(world, expiring)
    world.clock.advance(10)
    with pytest.raises(CallerKeyError, match="expired"):
        check(world, expiring)


def test_a_row_is_read_once_in_thirty_seconds(world: HotWorld) -> None:
    text, row = issue_key(world.ports(), name="x", verbs=("route",))
    memory = KeyMemory()
    for _ in range(100):
        check(world, text, memory)
    assert world.keys.calls["find"] == 1
    revoke_key(world.ports(), row.key_id)
    check(world, text, memory)
    world.clock.advance(ROW_CACHE_S)
    with pytest.raises(CallerKeyError):
        check(world, text, memory)


def test_a_verified_key_works_while_its_row_cannot_be_read(world: HotWorld) -> None:
    text, _ = issue_key(world.ports(), name="x", verbs=("route",))
    world.keys.failure = StorageUnavailableError("throttled")
    assert check(world, text).row is None


def test_an_endpoints_own_key_is_derived_again_and_only_routes(world: HotWorld) -> None:
    text = endpoint_key(world.secrets, 7, 3)
    assert text == endpoint_key(world.secrets, 7, 3)
    caller = check(world, text)
    assert (caller.is_own, caller.endpoint_id, caller.generation) == (True, 7, 3)
    assert caller.verbs == {"route"}
    assert not world.keys.calls


def test_the_first_admin_key_is_made_once(world: HotWorld) -> None:
    now = world.clock.now()
    text = first_admin_key(world.ports(), now)
    assert text is not None
    assert check(world, text).verbs == set(VERBS)
    assert first_admin_key(world.ports(), now) is None
    revoke_key(world.ports(), list_keys(world.ports())[0].key_id)
    assert first_admin_key(world.ports(), now) is not None


@pytest.mark.parametrize("verbs", [(), ("fly",), ("route", "fly")])
def test_unknown_verbs_are_refused(world: HotWorld, verbs: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match="verbs"):
        issue_key(world.ports(), name="x", verbs=verbs)


@pytest.mark.parametrize("field", ["share", "max_requests_per_s", "max_concurrent"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "x"])
def test_limits_out_of_bounds_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ParameterError, match=field):
        KeyLimits(**{field: value})  # type: ignore[arg-type]


def test_unknown_keys_are_not_found(world: HotWorld) -> None:
    for change in (rotate_key, revoke_key):
        with pytest.raises(NotFoundError):
            change(world.ports(), "a-r-none")


def test_an_instances_token_says_and_proves_whose_it_is() -> None:
    box = FakeSecretBox()
    text = worker_token(box, 7, "abc-DEF_1")
    assert check_worker_token(box, text) == (7, "abc-DEF_1")
    assert check_worker_token(FakeSecretBox(b"another"), text) is None
    assert check_worker_token(box, text.replace("7.", "8.", 1)) is None


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    assert parse_worker_token(text) is None
    with pytest.raises(CallerKeyError):
        parse_key(text)
