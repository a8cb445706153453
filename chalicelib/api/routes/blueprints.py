"""Which blueprints a function registers: the hot ones load nothing that they do not serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from chalice import Blueprint

from chalicelib.ports.bundles import ApiPorts, HotPorts


@dataclass(frozen=True, kw_only=True, slots=True)
class Wired:
    """What blueprints get from the wiring; ports are built at the first request."""

    hot_ports: Callable[[], HotPorts]
    api_ports: Callable[[], ApiPorts]
    root_certificate: Callable[[], str]
    deployment: Mapping[str, object]


def blueprints_for(role: str, wired: Wired) -> Iterator[Blueprint]:
    """The blueprints of a role; without a role, all: one API handler can serve the whole system."""
    if role in ("", "hot"):
        from chalicelib.api.routes.routing import routing_blueprint

        yield routing_blueprint(wired.hot_ports)
    if role in ("", "reports"):
        from chalicelib.api.routes.reports import reports_blueprint

        yield reports_blueprint(wired.hot_ports)
    if role == "":
        yield from _management_blueprints(wired)


def _management_blueprints(wired: Wired) -> Iterator[Blueprint]:
    from chalicelib.api.routes.bundle import bundle_blueprint
    from chalicelib.api.routes.console import console_blueprint
    from chalicelib.api.routes.keys import keys_blueprint
    from chalicelib.api.routes.management import management_blueprint
    from chalicelib.api.routes.observability import observability_blueprint
    from chalicelib.api.routes.operations import operations_blueprint
    from chalicelib.api.routes.receivers import receivers_blueprint
    from chalicelib.api.routes.static import dashboard_blueprint

    yield management_blueprint(wired.api_ports)
    yield keys_blueprint(wired.api_ports)
    yield receivers_blueprint(wired.api_ports)
    yield observability_blueprint(wired.api_ports)
    yield operations_blueprint(wired.api_ports, wired.deployment)
    yield console_blueprint(wired.api_ports, wired.root_certificate)
    yield dashboard_blueprint()
    yield bundle_blueprint()
