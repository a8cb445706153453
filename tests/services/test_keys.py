"""Callers' keys: derived, scoped, rotated with overlap, revoked; and instances' tokens."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.caller_key import CallerKeyError, parse_key, parse_worker_token
from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.ports.errors import NotFoundError, StorageUnavailableError
from chalicelib.ports.keys import CallerKey
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
    limit_key,
    list_keys,
    proof_hash,
    revoke_key,
    rotate_key,
    shown_key,
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
    for end in ("A" * 43, "A" * 86):
        with pytest.raises(CallerKeyError):
            check(world, f"blk.a-r-0.1.{end}")
    for text in ("", "blk", "x" * 10_000):
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


def test_a_key_whose_row_cannot_be_read_is_not_believed(world: HotWorld) -> None:
    text, row = issue_key(world.ports(), name="x", verbs=("route",))
    memory = KeyMemory()
    check(world, text, memory)
    world.keys.failure = StorageUnavailableError("throttled")
    world.clock.advance(ROW_CACHE_S)
    assert check(world, text, memory).row == row  # what is known is used on
    with pytest.raises(StorageUnavailableError):
        check(world, text)


def test_a_key_without_its_row_is_none(world: HotWorld) -> None:
    """As after a restore to a point before the key was made."""
    text, row = issue_key(world.ports(), name="x", verbs=VERBS)
    del world.keys.rows[row.key_id]
    with pytest.raises(CallerKeyError, match="unknown"):
        check(world, text)


def test_not_even_a_good_proof_makes_a_key_without_a_row(world: HotWorld) -> None:
    proof = world.secrets.prove("a-roa-ghost.1")
    with pytest.raises(CallerKeyError, match="unknown"):
        check(world, f"blk.a-roa-ghost.1.{proof}")


@pytest.mark.parametrize("purpose", ["caller", "worker", "intent", "index"])
def test_no_pepper_makes_a_key(world: HotWorld, purpose: str) -> None:
    """What `hot` and `reports` may unwrap: the MAC of the former kind, of any key there is."""
    _, row = issue_key(world.ports(), name="x", verbs=VERBS)
    for key_id in (row.key_id, "a-roa-ghost", "e7-r-own"):
        for has_former in (False, True):
            world.secrets.has_former_keys = has_former
            with pytest.raises(CallerKeyError):
                check(world, f"blk.{key_id}.1.{world.secrets.mac(purpose, f'{key_id}.1')}")


def test_a_former_key_goes_on_while_its_row_holds_its_hash(world: HotWorld) -> None:
    _, row = issue_key(world.ports(), name="x", verbs=("route",))
    mac = "m" * 43
    text = f"blk.{row.key_id}.1.{mac}"
    world.keys.put(replace(row, former_hashes={"1": proof_hash(mac)}, revision=2))
    with pytest.raises(CallerKeyError):
        check(world, text)
    world.secrets.has_former_keys = True
    assert check(world, text).key_id == row.key_id
    for wrong in (text[:-1] + "n", text.replace(".1.", ".2."), text.replace(".1.", "-d7.1.")):
        with pytest.raises(CallerKeyError):
            check(world, wrong)
    rotate_key(world.ports(), row.key_id)
    check(world, text)
    revoke_key(world.ports(), row.key_id, older_only=True)
    with pytest.raises(CallerKeyError, match="revoked"):
        check(world, text)


def test_limits_changed_beside_a_revocation_do_not_undo_it(world: HotWorld) -> None:
    """The row that `limit_key` read first is older than the revocation."""
    text, row = issue_key(world.ports(), name="x", verbs=("route",))
    real, once = world.keys.put, [True]

    def put_after_revocation(key: CallerKey) -> None:
        if once:
            once.clear()
            revoke_key(world.ports(), row.key_id)
        real(key)

    world.keys.put = put_after_revocation  # type: ignore[method-assign]
    changed = limit_key(world.ports(), row.key_id, KeyLimits(max_concurrent=3))
    assert (changed.max_concurrent, changed.revoked_generations_below) == (3, 2)
    with pytest.raises(CallerKeyError, match="revoked"):
        check(world, text)


def test_a_tenant_is_shown_a_key_with_its_own_limits_and_life(world: HotWorld) -> None:
    limits = KeyLimits(max_requests_per_s=0.1, max_concurrent=1)
    text, row = issue_key(world.ports(), name="x", verbs=("route", "read"), limits=limits)
    shown = shown_key(world.secrets, check(world, text), 7, 1)
    derived = check(world, shown)
    assert derived.row == row
    assert derived.verbs == {"route"}
    assert (derived.endpoint_id, derived.is_own) == (7, False)
    with pytest.raises(CallerKeyError):
        check(world, shown.replace("-d7", "-d8"))
    revoke_key(world.ports(), row.key_id)
    with pytest.raises(CallerKeyError, match="revoked"):
        check(world, shown)


def test_only_who_manages_the_account_is_shown_the_groups_own_key(world: HotWorld) -> None:
    for verbs, endpoint_id, is_own in (
        (VERBS, None, True),
        (VERBS, 7, False),
        (("route", "read"), None, False),
    ):
        text, _ = issue_key(world.ports(), name="x", verbs=verbs, endpoint_id=endpoint_id)
        shown = shown_key(world.secrets, check(world, text), 7, 1)
        assert check(world, shown).is_own is is_own
    text, _ = issue_key(world.ports(), name="x", verbs=("read",))
    assert shown_key(world.secrets, check(world, text), 7, 1) == ""


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
