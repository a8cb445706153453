"""Launching: what an autogroup's template and launch arguments make of a rental."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.core.fleet.intents import RentIntent, label_for
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.money.account import Account
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.marketplace import CreateRequest, FoundOffers, Template
from chalicelib.services.keys import worker_token
from chalicelib.services.market.lanes import lane_of, lane_path
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.wire.launch_args import LaunchArgs, parse_launch_args
from chalicelib.wire.worker_env import docker_variables, reads_as_true

OFFERS_LIMIT = 64
DEFAULT_DISK_GB = 16.0
DEFAULT_WORKER_PORT = 3000  # of the PyWorker's start script (protocol.md D.1)
MAX_PORT = 65_535


class LaunchError(Exception):
    """An autogroup cannot be launched as it is configured; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchFacts:
    """What is known of a launch before it happens."""

    template: Template | None
    args: LaunchArgs
    disk_gb: float
    uses_ssl: bool
    worker_port: int


def launch_facts(market: PacedMarket, autogroup: Autogroup) -> LaunchFacts:
    """Read an autogroup's template and launch arguments.

    Raises:
        LaunchError: the template is gone, there is neither template nor image, or no such port.
        MarketplaceError: Vast could not answer.
    """
    args = parse_launch_args(autogroup.launch_args)
    template = None
    if autogroup.template_hash:
        template = market.find_template(autogroup.template_hash)
        if template is None:
            raise LaunchError(
                f"Vast knows no template {autogroup.template_hash!r}; give the autogroup the hash "
                "of one that exists"
            )
    elif not args.image:
        raise LaunchError("neither a template nor an image in launch_args")
    # Launch arguments win over the template's docker flags.
    env = {**docker_variables(template.env if template else ""), **args.env}
    return LaunchFacts(
        template=template,
        args=args,
        disk_gb=args.disk_gb or (template.disk_gb if template else 0.0) or DEFAULT_DISK_GB,
        uses_ssl=reads_as_true(env.get("USE_SSL", "")),
        worker_port=_port(env.get("WORKER_PORT", "")),
    )


def offer_query(
    autogroup: Autogroup, template: Template | None
) -> Mapping[str, Mapping[str, object]]:
    """The search of an autogroup over its template's filters: where both speak, the search wins."""
    filters = template.extra_filters if template else {}
    return {**filters, **autogroup.search_query}


def search_offers(
    market: PacedMarket, autogroup: Autogroup, *, is_bid: bool = False
) -> tuple[FoundOffers, float]:
    """Offers for an autogroup, on demand or interruptible, and the disk of their price (GB).

    Raises:
        LaunchError: it cannot be launched as it is configured.
        LaunchArgsError: its launch arguments cannot be read.
        MarketplaceError: Vast could not answer; RateLimitedError: it is not the turn.
    """
    launch = launch_facts(market, autogroup)
    query = offer_query(autogroup, launch.template)
    disk_gb = launch.disk_gb or DEFAULT_DISK_GB
    found = market.search_once(query, disk_gb=disk_gb, limit=OFFERS_LIMIT, is_bid=is_bid)
    return found, disk_gb


def create_request(
    ports: ScalerPorts, group: EndpointGroup, intent: RentIntent, launch: LaunchFacts, url: str
) -> CreateRequest:
    """The create call of an intent: our token in label, MASTER_TOKEN and REPORT_ADDR."""
    token = worker_token(ports.secrets, intent.endpoint_id, intent.token)
    scheme, _, host = url.partition("://")
    port = launch.worker_port
    env = {
        **launch.args.env,
        f"-p {port}:{port}": "1",
        "MASTER_TOKEN": token,
        "REPORT_ADDR": f"{scheme}://w:{token}@{host}",
    }
    return CreateRequest(
        offer_id=intent.offer_id,
        label=label_for(group.name, intent.token),
        template_hash=launch.template.hash_id if launch.template else None,
        disk_gb=launch.disk_gb,
        env=env,
        image=launch.args.image,
        onstart=launch.args.onstart,
        extra=launch.args.extra,
        bid_usd_per_hour=intent.bid_usd_per_hour if intent.is_bid else None,
    )


def report_url(ports: ScalerPorts, account: Account, intent_token: str) -> str:
    """Where the machine of an intent reports to: its lane, if the deployment has lanes.

    Raises:
        LaunchError: the deployment does not know its own address yet.
    """
    url = ports.public_url or account.public_url
    if "://" not in url:
        raise LaunchError(
            "the deployment's public URL is not known yet, so no machine could report: run "
            "`python -m infra.deploy core --stage STAGE` where `chalice deploy` ran"
        )
    if not account.n_lanes:
        return url.rstrip("/")
    lane = lane_of(intent_token, account.n_lanes)
    return f"{url.rstrip('/')}/{lane_path(ports.secrets, lane)}"


def _port(text: str) -> int:
    if not text:
        return DEFAULT_WORKER_PORT
    port = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    if not 1 <= port <= MAX_PORT:
        raise LaunchError(f"WORKER_PORT={text[:40]!r} is no port; allowed: 1 to {MAX_PORT}")
    return port
