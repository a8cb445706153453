"""A router in a process of its own: the real `route` over the real tables, in the time it is told.

Its clock is set by every question, so that hours of traffic pass as fast as the machine can route.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.clients import aws_session, client_config
from chalicelib.adapters.aws.routing import DynamoRoutingViewRepository
from chalicelib.adapters.aws.waiting import DynamoWaitingRepository
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.ports.bundles import HotPorts
from chalicelib.services.keys import endpoint_key
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import route
from chalicelib.wire.routing import RouteRequest
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME
from fakes.ports.clock import FakeRandomness, ManualClock
from fakes.ports.event_log import FakeEventLog
from fakes.ports.key_repository import FakeKeyRepository
from fakes.ports.quotas import FakeQuotaRepository
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.ports.secret_box import FakeSecretBox
from fakes.ports.signer import FakeSigner

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

PREFIX = "bench"
PATIENCE_S = 60.0  # a busy machine's emulator may be slow; nothing here is timed by the wall


@dataclass(frozen=True, slots=True)
class Question:
    """A request that arrives at a moment, in epoch seconds."""

    now: float
    cost: float


@dataclass(frozen=True, slots=True)
class Grant:
    """The worker's url and the number of the grant there."""

    url: str
    reqnum: int


def local_client(url: str) -> DynamoDBClient:
    """A client of an emulator, set up as the hot function's, but patient."""
    from botocore.config import Config

    client: DynamoDBClient = aws_session().create_client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
        config=client_config().merge(Config(read_timeout=PATIENCE_S)),
    )
    return client


def serve(pipe: Connection, url: str, seed: int) -> None:
    """Answer questions with grants until None comes; then tell the number of calls by operation."""
    n_calls: Counter[str] = Counter()
    client = local_client(url)

    def count(model: Any, **_: object) -> None:
        n_calls[model.name] += 1

    client.meta.events.register("before-call.dynamodb", count)
    clock, secrets = ManualClock(), FakeSecretBox()
    ports = HotPorts(
        clock=clock,
        randomness=FakeRandomness(seed),
        workers=DynamoWorkerRepository(client, PREFIX),
        views=DynamoRoutingViewRepository(client, PREFIX),
        waiting=DynamoWaitingRepository(client, PREFIX),
        keys=FakeKeyRepository(),
        quotas=FakeQuotaRepository(),
        signer=FakeSigner(),
        secrets=secrets,
        poke=FakeScalerPoke(),
        events=FakeEventLog(),
    )
    memory, key = RouterMemory(), endpoint_key(secrets, ENDPOINT_ID, 1)
    while (question := pipe.recv()) is not None:
        clock.advance(question.now - clock.now())
        request = RouteRequest(
            endpoint=ENDPOINT_NAME,
            endpoint_id=None,
            api_key=key,
            cost=question.cost,
            request_idx=None,  # bound at once, however long the queue, as the simulator does
        )
        reply = route(ports, memory, request)
        pipe.send(Grant(str(reply["url"]), int(str(reply["reqnum"]))))
    pipe.send(n_calls)
