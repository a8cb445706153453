"""KMS's quota: two decrypts a container's start, none a grant; refused ones are asked again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.adapters.aws.secret_box import KmsSecretBox
from chalicelib.adapters.aws.signer import WrappedSigner
from chalicelib.services.keys import endpoint_key
from fakes.aws.kms import SYMMETRIC_PER_S, QuotaKms
from fakes.bundles.hot_ports import ENDPOINT_ID, OWN_SOFTWARE, HotWorld
from tests.conftest import KMS_ALIAS, TABLE_PREFIX
from tests.services.router import Router, make_world, see

DECRYPTS_A_START = 2


class Containers:
    """Hot containers over one account's KMS."""

    def __init__(self, dynamodb: Any, kms: Any) -> None:
        self.world = make_world()
        self.dynamodb, self.kms = dynamodb, QuotaKms(kms, self.world.clock)
        signer = self.signer()
        key = signer.newest(self.world.clock.now())
        for i in range(1, 5):
            self.world.add_worker(i, key_id=key.key_id, perf=1e6, **OWN_SOFTWARE)
        self.key = endpoint_key(self.secrets(), ENDPOINT_ID, 1)
        see(self.world)
        self.start().ask(cost=1.0)  # what the deployment makes once is made
        self.kms.calls.clear()

    def secrets(self) -> Any:
        kms: Any = self.kms
        return KmsSecretBox(self.dynamodb, kms, TABLE_PREFIX, KMS_ALIAS)

    def signer(self) -> Any:
        kms: Any = self.kms
        return WrappedSigner(self.dynamodb, kms, TABLE_PREFIX, KMS_ALIAS)

    def start(self) -> Router:
        """A cold one."""
        ports = replace(self.world.ports(), secrets=self.secrets(), signer=self.signer())
        router = Router(self.world)
        router.key = self.key
        router.world = _With(ports, self.world)  # type: ignore[assignment]
        return router


class _With:
    """A world whose ports are one container's own."""

    def __init__(self, ports: Any, world: HotWorld) -> None:
        self._ports, self.clock = ports, world.clock

    def ports(self) -> Any:
        return self._ports


@pytest.fixture
def containers(dynamodb: Any, kms: Any) -> Containers:
    return Containers(dynamodb, kms)


def is_granted(router: Router) -> bool:
    return "url" in router.ask(cost=1.0)


def test_a_container_asks_twice_as_it_starts_and_never_for_a_grant(containers: Containers) -> None:
    router = containers.start()
    assert all(is_granted(router) for _ in range(20))
    assert sum(containers.kms.calls.values()) == DECRYPTS_A_START
    # A thousand that start in the same second take a fifth of the quota.
    assert 1_000 * DECRYPTS_A_START < 0.25 * SYMMETRIC_PER_S


def test_with_the_quota_used_up_warm_containers_grant_and_cold_ones_wait(
    containers: Containers,
) -> None:
    warm, cold = containers.start(), containers.start()
    assert is_granted(warm)
    containers.kms.others_per_s = SYMMETRIC_PER_S
    assert is_granted(warm)
    assert not is_granted(cold)
    assert containers.kms.n_throttled
    containers.kms.others_per_s = 0.0
    containers.world.clock.advance(1.0)
    assert is_granted(cold)
