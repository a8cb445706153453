"""Vast's HTTP API on a pretend market, for our adapter and for the vendor's CLI (protocol.md F).

Each handler is one call of the market; refusals come back with Vast's status and body.
"""

from __future__ import annotations

import json

from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request

from chalicelib.core.fleet.pacing import Verb
from fakes.certificate_authority import CertificateAuthority
from fakes.market.market_offers import matches
from fakes.market.market_pages import PageQuery, listing_page
from fakes.market.market_refusal import MarketRefusal
from lab.local.market.marketplace_messages import (
    Body,
    as_ids,
    as_object,
    as_rows,
    json_argument,
    parse_body,
)
from lab.local.market.marketplace_world import MarketWorld

_STATE_VERBS = {"running": Verb.START, "stopped": Verb.STOP}


class MarketplaceApi:
    """Handlers by name; `URL_MAP` says which path is whose."""

    def __init__(self, world: MarketWorld) -> None:
        self._world = world
        self._market = world.market
        self._authority = CertificateAuthority()

    def search_offers(self, request: Request) -> Body:
        """Search offers: the body is the query, or holds it under `q`."""
        body = parse_body(request)
        query = body.get("q", body)
        with self._world.at_now() as now:
            self._market.begin_call(Verb.SEARCH, now)
            return {"offers": self._market.offers.search(as_object(query, "q"), now)}

    def create(self, request: Request, offer_id: int) -> Body:
        """Rent."""
        body = parse_body(request)
        with self._world.at_now() as now:
            self._market.begin_call(Verb.CREATE, now, f"{offer_id} {body.get('label')}")
            instance = self._market.create(offer_id, body, now)
            return {"success": True, "new_contract": instance.instance_id}

    def list_v1(self, request: Request) -> Body:
        """A page of the listing."""
        limit = request.args.get("limit", "25")
        query = PageQuery(
            after_token=request.args.get("after_token", ""),
            limit=int(limit) if limit.isdecimal() else 25,
            conditions=as_object(json_argument(request, "select_filters", "{}"), "select_filters"),
            order=[
                [entry["col"], entry.get("dir", "asc")]
                for entry in as_rows(json_argument(request, "order_by", "[]"), "order_by")
                if "col" in entry and entry["col"] != "id"
            ],
        )
        with self._world.at_now() as now:
            self._market.begin_call(Verb.LIST, now, query.after_token)
            return listing_page(self._market, query, now)

    def list_v0(self, request: Request) -> Body:
        """The old listing, which new accounts do not have."""
        raise MarketRefusal.stating(410, "deprecated_endpoint", "use /api/v1/instances/")

    def filters(self, request: Request) -> Body:
        """What listings can be narrowed by."""
        return {"success": True, "filters": []}

    def show(self, request: Request, instance_id: int) -> Body:
        """One instance, or null."""
        with self._world.at_now() as now:
            self._market.begin_call(Verb.SHOW, now, str(instance_id))
            found = self._market.instances.get(instance_id)
            return {"success": True, "instances": found.row() if found else None}

    def change(self, request: Request, instance_id: int) -> Body:
        """Start, stop or label one instance."""
        body = parse_body(request)
        if "state" not in body:
            return self._label(instance_id, str(body.get("label") or ""))
        with self._world.at_now() as now:
            verb = _state_verb(body)
            self._market.begin_call(verb, now, str(instance_id))
            self._set_state(verb, instance_id, now)
        return {"success": True}

    def change_many(self, request: Request) -> Body:
        """Start or stop many."""
        body = parse_body(request)
        verb, failed = _state_verb(body), {}
        with self._world.at_now() as now:
            self._market.begin_call(verb, now, str(body.get("ids")))
            for instance_id in as_ids(body, "ids"):
                try:
                    self._set_state(verb, instance_id, now)
                except MarketRefusal as refused:
                    said = json.loads(refused.text)
                    failed[str(instance_id)] = said.get("error") or said["msg"]
        return {"success": True, "failed": failed}

    def change_bid(self, request: Request, instance_id: int) -> Body:
        """Bid anew for an interruptible instance."""
        body = parse_body(request)
        with self._world.at_now() as now:
            self._market.begin_call(Verb.BID, now, str(instance_id))
            self._market.change_bid(instance_id, body.get("price"), now)
        return {"success": True}

    def destroy(self, request: Request, instance_id: int) -> Body:
        """Destroy one."""
        with self._world.at_now() as now:
            self._market.begin_call(Verb.DESTROY, now, str(instance_id))
            self._market.instance(instance_id)
            self._market.destroy([instance_id], now)
        return {"success": True}

    def destroy_many(self, request: Request) -> Body:
        """Destroy many."""
        ids = as_ids(parse_body(request), "instance_ids")
        with self._world.at_now() as now:
            self._market.begin_call(Verb.DESTROY, now, " ".join(map(str, ids)))
            outcomes = self._market.destroy(ids, now)
        return {"success": True, "failed": {str(i): why for i, why in outcomes.items() if why}}

    def reboot(self, request: Request, instance_id: int) -> Body:
        """Reboot or recycle the container."""
        with self._world.at_now() as now:
            self._market.begin_call(Verb.REBOOT, now, str(instance_id))
            self._market.reboot(instance_id, now)
        return {"success": True}

    def request_logs(self, request: Request, instance_id: int) -> Body:
        """Where the log will be."""
        tail = str(parse_body(request).get("tail") or 1_000)
        with self._world.at_now() as now:
            self._market.begin_call(Verb.LOGS, now, str(instance_id))
            self._market.instance(instance_id)
        url = f"{request.host_url}api/v0/instances/{instance_id}/logs?tail={tail}"
        return {"success": True, "result_url": url}

    def logs(self, request: Request, instance_id: int) -> str:
        """A container's log as text."""
        tail = request.args.get("tail", "1000")
        n_lines = int(tail) if tail.isdecimal() and int(tail) > 0 else 1_000
        return self._world.driver.read_log(instance_id, n_lines)

    def find_templates(self, request: Request) -> Body:
        """Templates that meet `select_filters`."""
        conditions = as_object(json_argument(request, "select_filters", "{}"), "select_filters")
        with self._world.at_now() as now:
            self._market.begin_call(Verb.TEMPLATE, now)
            rows = [r for r in self._market.templates.rows.values() if matches(r, conditions)]
        return {"success": True, "templates": rows, "templates_found": len(rows)}

    def add_template(self, request: Request) -> Body:
        """A new template, or an edit: both give a new hash for new content."""
        body = parse_body(request)
        if not str(body.get("image") or "").strip():
            raise MarketRefusal.stating(400, "invalid_args", "image: missing")
        with self._world.at_now() as now:
            self._market.begin_call(Verb.TEMPLATE, now, str(body.get("name")))
            return {"success": True, "template": self._market.templates.add(body, now)}

    def remove_template(self, request: Request) -> Body:
        """Forget a template, by `hash_id` or `template_id`."""
        body = parse_body(request)
        with self._world.at_now() as now:
            self._market.begin_call(Verb.TEMPLATE, now)
            shelf = self._market.templates
            for hash_id, row in list(shelf.rows.items()):
                if body.get("hash_id") == hash_id or body.get("template_id") == row["id"]:
                    shelf.remove(hash_id)
                    return {"success": True}
        raise MarketRefusal.stating(404, "not_found", "no such template")

    def gpu_types(self, request: Request) -> Body:
        """The GPU models of this market."""
        return {
            "success": True,
            "gpu_types": [
                {"canonical_name": model.name, "gpu_ram_mb": int(model.gpu_ram_gb * 1_000)}
                for model in self._market.config.models
            ],
        }

    def current_user(self, request: Request) -> Body:
        """The account and its money."""
        with self._world.at_now() as now:
            self._market.begin_call(Verb.CREDIT, now)
            credit = self._market.credit_usd(now)
        return {
            "id": 1,
            "email": "owner@example.invalid",
            "credit": credit,
            "balance": 0.0,
            "host_agreement_accepted": False,
        }

    def sign_cert(self, request: Request) -> str:
        """A certificate for a worker's request, by the market's own authority."""
        instance_id = request.args.get("instance_id", "")
        with self._world.at_now():
            self._market.instance(int(instance_id) if instance_id.isdecimal() else -1)
        try:
            return self._authority.sign(request.get_data()).decode()
        except ValueError as error:
            raise MarketRefusal.stating(400, "invalid_args", f"request: {error}") from error

    def benchmarks(self, request: Request) -> Body:
        """Nobody has published a benchmark here."""
        return {"success": True, "benchmarks": [], "next_token": None}

    def _label(self, instance_id: int, label: str) -> Body:
        with self._world.at_now() as now:
            self._market.begin_call(Verb.STOP, now, f"label {instance_id}")
            self._market.relabel(instance_id, label, now)
        return {"success": True}

    def _set_state(self, verb: Verb, instance_id: int, now: float) -> None:
        if verb is Verb.START:
            self._market.start(instance_id, now)
        else:
            self._market.stop(instance_id, now)


RULES: tuple[tuple[str, str, str], ...] = (
    ("POST", "/api/v0/bundles", "search_offers"),
    ("PUT", "/api/v0/search/asks", "search_offers"),
    ("PUT", "/api/v0/asks/<int:offer_id>", "create"),
    ("GET", "/api/v1/instances", "list_v1"),
    ("GET", "/api/v0/instances", "list_v0"),
    ("GET", "/api/v0/instances/filters", "filters"),
    ("GET", "/api/v0/instances/<int:instance_id>", "show"),
    ("PUT", "/api/v0/instances/<int:instance_id>", "change"),
    ("PUT", "/api/v0/instances", "change_many"),
    ("DELETE", "/api/v0/instances/<int:instance_id>", "destroy"),
    ("DELETE", "/api/v0/instances", "destroy_many"),
    ("PUT", "/api/v0/instances/reboot/<int:instance_id>", "reboot"),
    ("PUT", "/api/v0/instances/recycle/<int:instance_id>", "reboot"),
    ("PUT", "/api/v0/instances/bid_price/<int:instance_id>", "change_bid"),
    ("PUT", "/api/v0/instances/request_logs/<int:instance_id>", "request_logs"),
    ("GET", "/api/v0/instances/<int:instance_id>/logs", "logs"),
    ("GET", "/api/v0/template", "find_templates"),
    ("POST", "/api/v0/template", "add_template"),
    ("PUT", "/api/v0/template", "add_template"),
    ("PUT", "/api/v1/template", "add_template"),
    ("DELETE", "/api/v0/template", "remove_template"),
    ("GET", "/api/v0/gpu_types", "gpu_types"),
    ("GET", "/api/v0/users/current", "current_user"),
    ("GET", "/api/v0/benchmarks", "benchmarks"),
    ("POST", "/api/v0/sign_cert", "sign_cert"),
)
PUBLIC_HANDLERS = frozenset({"logs", "gpu_types", "sign_cert"})
"""What Vast answers without a key."""

URL_MAP = Map(
    [Rule(path, endpoint=name, methods=[method]) for method, path, name in RULES],
    strict_slashes=False,
)


def _state_verb(body: Body) -> Verb:
    verb = _STATE_VERBS.get(str(body.get("state")))
    if verb is None:
        raise MarketRefusal.stating(400, "invalid_args", f"state: {body.get('state')!r}")
    return verb
