"""Which adapter fills which port: the composition root of every function.

Each bundle is built once per container, and each adapter is imported only by the bundle that needs
it: the hot function loads neither requests nor pynamodb.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.ports.bundles import ApiPorts, HotPorts, NotifierPorts, ScalerPorts
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.ports.marketplace import Marketplace
    from chalicelib.ports.notifier import Receivers
    from chalicelib.ports.scaler_poke import ScalerPoke
    from chalicelib.ports.signer import Signer

ASK_TIMEOUT_S = 28.0  # a question may cost the scaler several calls to Vast; API Gateway waits 29 s


@cache
def settings() -> Settings:
    """This function's settings."""
    return Settings.from_environment()


@cache
def hot_ports() -> HotPorts:
    """For `/route/`, `/pubkey/` and reports."""
    return HotPorts(**_hot_adapters())


@cache
def api_ports() -> ApiPorts:
    """For management."""
    return ApiPorts(**_hot_adapters(), **_control_adapters())


@cache
def scaler_ports() -> ScalerPorts:
    """For the scaler, the only function that reads the Vast key."""
    from chalicelib.adapters.notifiers import OwnerNotifier

    return ScalerPorts(
        **_hot_adapters(),
        **_control_adapters(),
        marketplace=_marketplace(),
        public_url=settings().public_url,
        allows_loopback=settings().allow_loopback_workers,
        round_interval_s=settings().round_interval_s,
        pacing_scale=settings().pacing_scale,
        notifiers=(OwnerNotifier(_receivers()),),
    )


@cache
def notifier_ports() -> NotifierPorts:
    """For the function on the alerts' topic."""
    from chalicelib.adapters.aws.clients import dynamodb_client
    from chalicelib.adapters.aws.events import DynamoEventLog
    from chalicelib.adapters.system import SystemClock

    events = DynamoEventLog(dynamodb_client(), settings().table_prefix)
    return NotifierPorts(clock=SystemClock(), events=events, receivers=_receivers())


@cache
def root_certificate() -> str:
    """The root certificate for clients of workers, as PEM."""
    from chalicelib.adapters.root_certificate import unused_root_certificate

    return settings().root_certificate or unused_root_certificate(hot_ports().clock.now())


def deployment() -> dict[str, object]:
    """What status tells of where it runs."""
    return {"stage": settings().stage, "is_simulated": settings().allow_loopback_workers}


def reset() -> None:
    """Forget everything built, so that the next call reads the environment again."""
    from chalicelib.adapters.aws.clients import aws_session, dynamodb_client, kms_client

    built = (settings, hot_ports, api_ports, scaler_ports, notifier_ports, root_certificate)
    for cached in (*built, _hot_adapters, aws_session, dynamodb_client, kms_client):
        cached.cache_clear()


@cache
def _hot_adapters() -> dict[str, Any]:
    from chalicelib.adapters.aws.clients import dynamodb_client, kms_client
    from chalicelib.adapters.aws.events import DynamoEventLog
    from chalicelib.adapters.aws.keys import DynamoKeyRepository
    from chalicelib.adapters.aws.routing import DynamoRoutingViewRepository
    from chalicelib.adapters.aws.secret_box import KmsSecretBox
    from chalicelib.adapters.aws.waiting import DynamoQuotaRepository, DynamoWaitingRepository
    from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
    from chalicelib.adapters.system import SystemClock, SystemRandomness

    client, prefix = dynamodb_client(), settings().table_prefix
    return {
        "clock": SystemClock(),
        "randomness": SystemRandomness(),
        "workers": DynamoWorkerRepository(client, prefix),
        "views": DynamoRoutingViewRepository(client, prefix),
        "waiting": DynamoWaitingRepository(client, prefix),
        "keys": DynamoKeyRepository(client, prefix),
        "quotas": DynamoQuotaRepository(client, prefix),
        "signer": _signer(),
        "secrets": KmsSecretBox(client, kms_client(), prefix, settings().kms_alias),
        "poke": _poke(),
        "events": DynamoEventLog(client, prefix),
    }


def _control_adapters() -> dict[str, Any]:
    from chalicelib.adapters.aws.clients import dynamodb_client
    from chalicelib.adapters.aws.events import DynamoSeriesLog
    from chalicelib.adapters.aws.groups import DynamoGroupRepository
    from chalicelib.adapters.aws.ledger import DynamoLedger

    client, prefix = dynamodb_client(), settings().table_prefix
    return {
        "groups": DynamoGroupRepository(client, prefix),
        "ledger": DynamoLedger(client, prefix),
        "series": DynamoSeriesLog(client, prefix),
        "receivers": _receivers(),
    }


def _signer() -> Signer:
    from chalicelib.adapters.aws.clients import dynamodb_client, kms_client
    from chalicelib.adapters.aws.signer import KmsSigner, WrappedSigner

    kind = KmsSigner if settings().signer == "kms" else WrappedSigner
    return kind(dynamodb_client(), kms_client(), settings().table_prefix, settings().kms_alias)


def _poke() -> ScalerPoke:
    from chalicelib.adapters.aws.scaler_poke import LambdaScalerPoke, SilentScalerPoke
    from chalicelib.api.telemetry import traceparent

    if not settings().scaler_function:
        return SilentScalerPoke()
    return LambdaScalerPoke(_lambda_client, settings().scaler_function, traceparent)


def _lambda_client() -> Any:
    import boto3
    from botocore.config import Config

    from chalicelib.adapters.aws.clients import CONNECT_TIMEOUT_S, bounded

    # A question is asked once: the scaler may be half-way through the first one.
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=ASK_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return bounded(boto3.client("lambda", config=config), ASK_TIMEOUT_S)


def _marketplace() -> Marketplace:
    from chalicelib.adapters.aws.clients import create_client
    from chalicelib.adapters.aws.secrets import SecretText
    from chalicelib.adapters.vast.client import VastMarketplace

    clock = hot_ports().clock
    key = SecretText(create_client("secretsmanager"), settings().vast_key_secret, clock)
    return VastMarketplace(url=settings().vast_url, api_key=key.read, clock=clock)


def _receivers() -> Receivers:
    from chalicelib.adapters.aws.clients import dynamodb_client
    from chalicelib.adapters.notifiers import DynamoReceivers

    return DynamoReceivers(dynamodb_client(), settings().table_prefix, _sns_client)


def _sns_client() -> Any:
    from chalicelib.adapters.aws.clients import create_client

    return create_client("sns")
