"""`/route/` with `model_log_of`: a ticket for one worker's log, for who manages its group."""

from __future__ import annotations

import pytest

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.routing.views import publish_directory
from chalicelib.wire.ticket import Claims, split_signature
from fakes.bundles.hot_ports import make_worker
from tests.api.over_fakes import Api

BOOT = "00112233445566ff"


@pytest.fixture
def endpoint_id(api: Api) -> int:
    """A group `llm` with a worker 31 that loads its model, 32 that has not reported, 33 of C."""
    endpoint_id = api.create_endpoint("llm")
    autogroup_id = api.create_autogroup(endpoint_id)
    for instance_id, generation, boot_id in ((31, "D", BOOT), (32, "D", ""), (33, "C", "")):
        api.workers.rows[endpoint_id, instance_id] = make_worker(
            instance_id,
            api.clock.now(),
            endpoint_id=endpoint_id,
            autogroup_id=autogroup_id,
            token=f"t{instance_id}",
            state=WorkerState.MODEL_LOADING,
            ticket=TicketGeneration(generation),
            boot_id=boot_id,
            certificate_sha256="ab" * 32,
        )
    publish_directory(api.ports)
    return endpoint_id


def test_it_opens_the_log_of_a_worker_that_is_not_ready(api: Api, endpoint_id: int) -> None:
    answer = api.call("POST", "/route/", {"endpoint": "llm", "model_log_of": 31})
    assert answer.status == 200
    worker = api.workers.rows[endpoint_id, 31]
    assert answer.json["url"] == worker.url
    assert answer.json["certificate_sha256"] == worker.certificate_sha256
    claims = Claims.from_bytes(split_signature(answer.json["signature"], 256)[0])
    assert claims.reads_log
    assert (claims.instance_id, claims.boot_id) == (31, BOOT)
    assert (claims.endpoint_id, claims.url, claims.allowance) == (endpoint_id, worker.url, None)
    assert api.workers.rows[endpoint_id, 31] == worker  # nothing is granted or booked


def test_only_who_manages_the_group_gets_it(api: Api, endpoint_id: int) -> None:
    other = api.create_endpoint("other")
    publish_directory(api.ports)
    body = {"endpoint": "llm", "model_log_of": 31}
    keys = {
        "route": api.new_key("route"),
        "read": api.new_key("read", "route"),
        "elsewhere": api.new_key("admin", endpoint_id=other),
        "junk": "x",
    }
    assert {
        name: api.call("POST", "/route/", body, key=key).status for name, key in keys.items()
    } == {name: 401 for name in keys}
    own = api.new_key("admin", endpoint_id=endpoint_id)
    assert api.call("POST", "/route/", body, key=own).status == 200


@pytest.mark.parametrize(("instance_id", "status"), [(32, 409), (33, 409), (34, 404), (0, 404)])
def test_a_worker_that_has_none_is_said(
    api: Api, endpoint_id: int, instance_id: int, status: int
) -> None:
    answer = api.call("POST", "/route/", {"endpoint": "llm", "model_log_of": instance_id})
    assert (answer.status, str(instance_id) in answer.json["msg"]) == (status, True)


@pytest.mark.parametrize("value", ["31", -1, 1.5, True, [31], {}])
def test_an_instance_is_a_whole_number(api: Api, endpoint_id: int, value: object) -> None:
    answer = api.call("POST", "/route/", {"endpoint": "llm", "model_log_of": value})
    assert (answer.status, "model_log_of" in answer.json["msg"]) == (400, True)
