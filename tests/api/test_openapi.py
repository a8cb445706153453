"""docs/http-api/openapi.yaml tells every route, verb and parameter, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chalicelib.api.auth import PUBLIC
from chalicelib.wire.json_body import WireError
from chalicelib.wire.management import (
    LEGACY_PARAMS,
    SCALING_PARAMS,
    parse_autogroup_changes,
    parse_endpoint_changes,
)
from tests.api.over_fakes import Answer, Api
from tests.api.test_auth import guarded_routes

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "http-api" / "openapi.yaml"
SPEC: dict[str, Any] = yaml.load(DOCUMENT.read_text(), yaml.CSafeLoader)
SCHEMAS = SPEC["components"]["schemas"]
OPERATIONS = [(m.upper(), path) for path, methods in SPEC["paths"].items() for m in methods]


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    routes = {(m, resource) for resource, methods in Api().app.routes.items() for m in methods}
    assert routes == set(OPERATIONS)


def test_verbs_and_scopes_are_those_of_the_authoriser() -> None:
    for method, resource, access in guarded_routes():
        operation = SPEC["paths"][resource][method.lower()]
        assert operation["x-verb"] == access.verb, resource
        assert operation.get("x-account-only", False) == access.account_only, resource
        assert (operation.get("security") == []) == (access.verb == PUBLIC), resource


def test_every_parameter_of_groups_and_autogroups_is_documented() -> None:
    endpoint, autogroup = SCHEMAS["EndpointChanges"], SCHEMAS["AutogroupChanges"]
    assert set(SCALING_PARAMS) <= set(endpoint["properties"])
    assert set(LEGACY_PARAMS) <= set(autogroup["properties"])
    for name, schema in {**endpoint["properties"], **autogroup["properties"]}.items():
        assert schema["description"], name


def test_the_fields_that_a_route_takes_are_those_of_its_document() -> None:
    declared = {(m, path): a.fields for m, path, a in guarded_routes() if a.fields is not None}
    assert declared
    for (method, path), fields in declared.items():
        content = SPEC["paths"][path][method.lower()]["requestBody"]["content"]
        schema = resolved(content["application/json"]["schema"])
        assert set(schema["properties"]) == set(fields), (method, path)


@pytest.mark.parametrize("name", sorted(SCHEMAS["EndpointChanges"]["properties"]))
def test_a_documented_parameter_of_a_group_is_read(name: str) -> None:
    with pytest.raises(WireError, match=name):
        parse_endpoint_changes({name: {"not": "this"}})


@pytest.mark.parametrize("name", sorted(SCHEMAS["AutogroupChanges"]["properties"]))
def test_a_documented_parameter_of_an_autogroup_is_read(name: str) -> None:
    with pytest.raises(WireError, match=name):
        parse_autogroup_changes({name: {"not": {"like": [1]}}})


def resolved(schema: Any) -> Any:
    """A schema without references."""
    if isinstance(schema, list):
        return [resolved(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolved(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]])
    return {key: resolved(value) for key, value in schema.items()}


def check_answer(answer: Answer, operation: dict[str, Any]) -> None:
    """The answer is one that the document tells of, in its shape."""
    responses = operation["responses"]
    told = responses.get(str(answer.status)) or responses.get(f"{answer.status // 100}XX")
    assert told is not None, (answer.status, answer.text)
    ((content_type, content),) = told["content"].items()
    assert answer.headers["Content-Type"].partition(";")[0] == content_type
    if content_type == "application/json":
        Draft202012Validator(resolved(content["schema"])).validate(answer.json)


CASES = schemathesis.openapi.from_dict(SPEC)
FUZZED = [
    result.ok()
    for result in CASES.get_all_operations()
    if not result.ok().path.startswith(("/dashboard", "/bundle"))
]


@pytest.mark.parametrize("operation", FUZZED, ids=lambda operation: operation.label)
def test_requests_made_from_the_document_get_documented_answers(operation: Any) -> None:
    """Valid by the document or not: no 5xx but those told, and no change when refused."""
    assert fuzz(operation, n_examples=15)


@pytest.mark.long
@pytest.mark.parametrize("operation", FUZZED, ids=lambda operation: operation.label)
def test_many_requests_made_from_the_document(operation: Any) -> None:
    assert fuzz(operation, n_examples=500)


def fuzz(operation: Any, n_examples: int) -> set[int]:
    """Send generated requests of one operation, hold the answers against the document; statuses."""
    api = Api()
    endpoint_id = api.create_endpoint()
    api.create_autogroup(endpoint_id)
    api.poke.answers = {ask: {} for ask in ("plan", "offers", "bundles", "templates", "gpu_types")}
    api.poke.answers |= {"instance": {"instance": {}}, "template": {"template": None}}
    statuses: set[int] = set()
    documented = SPEC["paths"][operation.path][operation.method.lower()]

    @settings(
        max_examples=n_examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(
        case=operation.as_strategy(), known=st.sampled_from([endpoint_id, endpoint_id + 1, None])
    )
    def check(case: Any, known: int | None) -> None:
        path = case.path
        for name, value in case.path_parameters.items():
            path = path.replace(f"{{{name}}}", quote(str(known or value), safe=""))
        before = api.state()
        body = case.body if isinstance(case.body, dict) else None
        answer = api.call(
            operation.method.upper(), f"{path}?{urlencode(case.query or {}, doseq=True)}", body
        )
        check_answer(answer, documented)
        statuses.add(answer.status)
        if answer.status >= 400:
            assert api.state() == before

    check()
    return statuses
