"""The owner's view and levers: status, plan, explain, spend, freeze, panic, rollout, and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalice import Blueprint

from chalicelib.api.auth import Call, Routes
from chalicelib.api.errors import OK
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.owner import account_preview, brakes, groups, preview, rollouts
from chalicelib.services.owner.views import choosing, comparison, explanation, spending, status
from chalicelib.services.owner.views.doctor import run_checks
from chalicelib.wire.json_body import WireError, check_names
from chalicelib.wire.management import parse_autogroup_changes, parse_endpoint_changes
from chalicelib.wire.routing import RouteRequest

PANIC_WORDS = "destroy everything"
CHOICE_FIELDS = ("endpoint_id", "cost", "affinity", "prefix_cost")
PREVIEW_FIELDS = (
    "endpoint", "autogroup", "endpoint_id", "autogroup_id", "update_workers", "account",
    "unfreeze",
)  # fmt: skip


def operations_blueprint(
    get_ports: Callable[[], ApiPorts], deployment: Mapping[str, object]
) -> Blueprint:
    """The routes; `deployment` holds what status tells of where it runs."""
    blueprint = Blueprint(__name__)
    routes = Routes(blueprint, get_ports)
    _register_views(routes, deployment)
    _register_plans(routes)
    _register_brakes(routes, deployment)
    _register_rollouts(routes)
    return blueprint


def _register_views(routes: Routes, deployment: Mapping[str, object]) -> None:
    @routes.route("GET", "/api/v0/status", "read")
    def get_status(call: Call) -> object:
        state = status.read_status(call.ports, call.caller, call.now, call.whole("endpoint_id"))
        return {**OK, **deployment, **state}

    @routes.route("GET", "/api/v0/explain", "read")
    def explain(call: Call) -> object:
        instance_id = call.whole("instance_id")
        if instance_id is not None:
            answer = explanation.explain_worker(call.ports, call.caller, instance_id)
        else:
            round_id = call.text("round", max_length=80) or explanation.LAST
            endpoint_id = call.whole("endpoint_id")
            answer = explanation.explain_round(call.ports, call.caller, round_id, endpoint_id)
        return {**OK, **answer}

    @routes.route("POST", "/api/v0/explain", "read", fields=CHOICE_FIELDS)
    def explain_choice(call: Call) -> object:
        """In the body, as keys of affinity belong into no address."""
        group = groups.visible_group(call.ports, call.caller, _endpoint_id(call))
        request = RouteRequest.of(call.body)
        return {**OK, **choosing.explain_choice(call.ports, group, request, call.now)}

    @routes.route("GET", "/api/v0/spend", "read")
    def get_spend(call: Call) -> object:
        days = call.whole("days", low=1, high=31) or 30
        endpoint_id = call.whole("endpoint_id")
        by = call.text("by", max_length=20) or "day"
        return {**OK, **spending.read_spend(call.ports, call.caller, endpoint_id, days, by)}

    @routes.route("GET", "/api/v0/compare", "read")
    def compare(call: Call) -> object:
        hours = call.number("hours")
        hours = 24.0 if hours is None else hours
        if not 0 < hours <= 744:
            raise WireError(f"hours: {hours!r}; allowed: above 0 to 744")
        group = groups.visible_group(call.ports, call.caller, _endpoint_id(call))
        return {**OK, "rows": comparison.compare_autogroups(call.ports, group, hours)}

    @routes.route("GET", "/api/v0/doctor", "admin", account_only=True)
    def doctor(call: Call) -> object:
        return {**OK, "checks": run_checks(call.ports, call.caller, str(deployment["stage"]))}


def _register_plans(routes: Routes) -> None:
    @routes.route("POST", "/api/v0/plan", "read", fields=("endpoint_id",))
    def plan(call: Call) -> object:
        group = groups.visible_group(call.ports, call.caller, _endpoint_id(call))
        return {**OK, **preview.plan(call.ports, call.caller, group)}

    @routes.route("POST", "/api/v0/preview", "admin", fields=PREVIEW_FIELDS)
    def preview_changes(call: Call) -> object:
        if call.flag("unfreeze"):
            endpoint_id = call.whole("endpoint_id")
            answer = account_preview.preview_unfreezing(call.ports, call.caller, endpoint_id)
            return {**OK, **answer}
        caps = _part(call, "account")
        if caps is not None:
            if call.caller.endpoint_id is not None:
                raise NotFoundError("the account's caps are for a key of the account only")
            check_names("account: ", caps, tuple(brakes.CAPS))
            return {**OK, **account_preview.preview_account(call.ports, caps)}
        endpoint = parse_endpoint_changes(_part(call, "endpoint") or {})
        body = _part(call, "autogroup")
        autogroup = None if body is None else parse_autogroup_changes(body)
        subject = preview.Subject(
            endpoint_id=call.whole("endpoint_id"),
            autogroup_id=call.whole("autogroup_id"),
            is_update=call.flag("update_workers"),
        )
        return {**OK, **preview.preview(call.ports, call.caller, subject, endpoint, autogroup)}


def _register_brakes(routes: Routes, deployment: Mapping[str, object]) -> None:
    """The brakes; whose they were is part of the answer to what stops or destroys."""
    stage = {"stage": deployment["stage"]}

    @routes.route("POST", "/api/v0/freeze", "admin", fields=("frozen", "endpoint_id"))
    def set_frozen(call: Call) -> object:
        return {**freeze(call), **stage}

    @routes.route("POST", "/api/v0/panic", "admin", account_only=True, fields=("confirm", "clear"))
    def set_panic(call: Call) -> object:
        return {**panic(call), **stage}

    routes.route("GET", "/api/v0/adopt", "admin")(show_adopted)
    fields = ("instance_ids", "ours")
    routes.route("POST", "/api/v0/adopt", "admin", account_only=True, fields=fields)(adopt)
    cap_fields = (*brakes.CAPS, "expected")
    for path in ("/api/v0/account", "/api/v0/caps"):
        routes.route("PUT", path, "admin", account_only=True, fields=cap_fields)(set_caps)


def freeze(call: Call) -> dict[str, object]:
    """Freeze or unfreeze a group, or the account when no group is named."""
    if not isinstance(call.argument("frozen"), bool):
        raise WireError("frozen: missing; give true or false")
    frozen, endpoint_id = call.flag("frozen"), call.whole("endpoint_id")
    if endpoint_id is not None:
        groups.freeze_group(call.ports, call.caller, endpoint_id, frozen=frozen)
    elif call.caller.endpoint_id is not None:
        raise NotFoundError("the account can be frozen by a key of the account only")
    else:
        brakes.freeze_account(call.ports, call.caller, frozen=frozen)
    return {**OK, "frozen": frozen}


def panic(call: Call) -> dict[str, object]:
    """Destroy everything, once the words are there; or end the panic."""
    if call.flag("clear"):
        brakes.clear_panic(call.ports, call.caller)
        return {**OK, "panicking": False}
    if call.argument("confirm") != PANIC_WORDS:
        raise WireError(f'confirm: missing; send {{"confirm": "{PANIC_WORDS}"}}')
    n_instances = brakes.panic(call.ports, call.caller)
    return {**OK, "panicking": True, "n_instances": n_instances}


def show_adopted(call: Call) -> object:
    """The machines that wait to be confirmed, of the caller's group or of all."""
    own = call.caller.endpoint_id
    rows = brakes.unconfirmed(call.ports)
    return {**OK, "instances": [row for row in rows if own in (None, row["endpoint_id"])]}


def adopt(call: Call) -> object:
    """Confirm machines of which table and label do not both say that they are ours, or disown."""
    ids = call.argument("instance_ids")
    if not isinstance(ids, list) or not all(type(one) is int for one in ids) or not ids:
        raise WireError("instance_ids: give the ids that GET /api/v0/adopt shows, as a list")
    ours = call.argument("ours")
    if ours is not None and not isinstance(ours, bool):
        raise WireError(f"ours: {ours!r}; give true (the usual) or false")
    n = brakes.settle_unconfirmed(call.ports, call.caller, ids, are_ours=ours is not False)
    return {**OK, "n_disowned" if ours is False else "n_confirmed": n}


def set_caps(call: Call) -> object:
    """Change the account's caps, if they still are those that the caller expects."""
    expected = _part(call, "expected") or {}
    check_names("expected: ", expected, tuple(brakes.CAPS))
    brakes.set_caps(call.ports, call.caller, call.body, expected)
    return OK


def _register_rollouts(routes: Routes) -> None:
    @routes.route("POST", "/api/v0/rollout", "admin", fields=("autogroup_id", "percent"))
    def rollout(call: Call) -> object:
        percent = call.number("percent")
        if percent is None:
            raise WireError("percent: missing; give the share of requests, 0 to 100")
        rollouts.share_traffic(call.ports, call.caller, _autogroup_id(call), percent)
        return OK

    @routes.route("POST", "/api/v0/promote", "admin", fields=("autogroup_id", "revision"))
    def promote(call: Call) -> object:
        chosen, revision = _autogroup_id(call), call.whole("revision")
        rollouts.share_traffic(call.ports, call.caller, chosen, 100.0, revision)
        return OK


def _endpoint_id(call: Call) -> int:
    endpoint_id = call.whole("endpoint_id")
    if endpoint_id is None:
        raise WireError("endpoint_id: missing")
    return endpoint_id


def _autogroup_id(call: Call) -> int:
    autogroup_id = call.whole("autogroup_id")
    if autogroup_id is None:
        raise WireError("autogroup_id: missing")
    return autogroup_id


def _part(call: Call, name: str) -> Mapping[str, object] | None:
    value = call.body.get(name)
    if value is not None and not isinstance(value, dict):
        raise WireError(f"{name}: must be an object")
    return value
