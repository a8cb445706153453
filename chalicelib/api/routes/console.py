"""The part of Vast's console that peers look for on the same host (protocol.md E.4, E.6).

What needs the Vast key is asked of the scaler; secrets never come back with its answers.
"""

from __future__ import annotations

from collections.abc import Callable

from chalice import Blueprint

from chalicelib.api.auth import PUBLIC, Call, Routes
from chalicelib.api.errors import OK, text_response
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.owner import autogroups
from chalicelib.services.owner.groups import USER_ID
from chalicelib.wire.json_body import WireError, parse_json_object, whole_of_text
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.search_query import parse_search_query

MAX_OFFERS = 64


def console_blueprint(
    get_ports: Callable[[], ApiPorts], get_root_certificate: Callable[[], str]
) -> Blueprint:
    """The routes."""
    blueprint = Blueprint(__name__)
    routes = Routes(blueprint, get_ports)
    _register_account(routes, get_root_certificate)
    _register_market(routes)
    _register_offers(routes)
    return blueprint


def _register_account(routes: Routes, get_root_certificate: Callable[[], str]) -> None:
    @routes.route("GET", "/api/v0/users/current", "read")
    def current_user(call: Call) -> object:
        return {**OK, "id": USER_ID, "email": "", "host_agreement_accepted": False}

    @routes.route("GET", "/static/jvastai_root.cer", PUBLIC)
    def root_certificate(call: Call) -> object:
        return text_response(get_root_certificate(), "text/plain; charset=utf-8")


def _register_market(routes: Routes) -> None:
    @routes.route("GET", "/api/v0/instances/{id}", "read", account_only=True)
    def show_instance(call: Call, id: str) -> object:
        question = {"ask": "instance", "instance_id": whole_of_text("id", id)}
        instance = call.ports.poke.ask(question).get("instance")
        if instance is None:
            raise NotFoundError(f"no instance {id[:40]}")
        return {**OK, "instances": instance}

    @routes.route("GET", "/api/v0/template", "read", account_only=True)
    def find_templates(call: Call) -> object:
        return {**OK, "templates": _find_templates(call)}

    @routes.route("GET", "/api/v0/gpu_types", "read", account_only=True)
    def gpu_types(call: Call) -> object:
        return {**OK, **call.ports.poke.ask({"ask": "gpu_types"})}


def _register_offers(routes: Routes) -> None:
    @routes.route("GET", "/api/v0/benchmarks", "read", account_only=True)
    def benchmarks(call: Call) -> object:
        return {**OK, "benchmarks": [], "next_token": None}  # measured anew; nothing is published

    @routes.route("POST", "/api/v0/bundles", "read", account_only=True)
    def search_offers(call: Call) -> object:
        return {**OK, **call.ports.poke.ask(_bundles_question(call))}

    fields = ("autogroup_id", "search_params", "disk_gb", "limit")

    @routes.route("POST", "/api/v0/offers", "read", account_only=True, fields=fields)
    def find_offers(call: Call) -> object:
        return {**OK, **call.ports.poke.ask(_offers_question(call))}


def _find_templates(call: Call) -> list[object]:
    filters = _select_filters(call)
    hash_id = call.text("hash_id", max_length=128) or filters.get("hash_id")
    if hash_id:
        found = call.ports.poke.ask({"ask": "template", "hash_id": hash_id}).get("template")
        return [found] if found else []
    every = call.ports.poke.ask({"ask": "templates"}).get("templates")
    rows = every if isinstance(every, list) else []
    return [row for row in rows if filters.get("id") in (None, row.get("id"))]


def _select_filters(call: Call) -> dict[str, object]:
    """The values that `select_filters={"hash_id": {"eq": …}, "id": {"eq": …}}` asks for.

    Raises:
        WireError: it is not such an object.
    """
    text = call.query.get("select_filters") or "{}"
    values: dict[str, object] = {}
    for name, condition in parse_json_object(text).items():
        if (
            name not in ("hash_id", "id")
            or not isinstance(condition, dict)
            or "eq" not in condition
        ):
            raise WireError(f'select_filters: {text[:80]!r}; allowed: hash_id or id, {{"eq": …}}')
        values[name] = condition["eq"]
    return values


def _bundles_question(call: Call) -> dict[str, object]:
    """Vast's search: conditions are objects; `order`, `type` are left to the scaler."""
    conditions = {name: value for name, value in call.body.items() if isinstance(value, dict)}
    return {
        "ask": "bundles",
        "search": parse_search_query(conditions),
        "disk_gb": call.number("allocated_storage"),
        "limit": call.whole("limit", low=1, high=MAX_OFFERS) or MAX_OFFERS,
    }


def _offers_question(call: Call) -> dict[str, object]:
    limit = call.whole("limit", low=1, high=MAX_OFFERS) or MAX_OFFERS
    autogroup_id = call.whole("autogroup_id")
    if autogroup_id is not None:
        found = autogroups.visible_autogroup(call.ports, call.caller, autogroup_id)
        disk_gb = parse_launch_args(found.launch_args).disk_gb
        question: dict[str, object] = {"autogroup_id": autogroup_id, "disk_gb": disk_gb}
    else:
        query = parse_search_query(call.argument("search_params"))
        if not query:
            raise WireError("search_params: missing; give a search, or autogroup_id")
        question = {"search": query, "disk_gb": call.number("disk_gb")}
    return {"ask": "offers", "limit": limit, **question}
