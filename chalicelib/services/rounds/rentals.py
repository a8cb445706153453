"""Renting: intent first, then the call, then the row; whatever happens in between is recoverable.

planned (written with its reservation) → create call → row and confirmed | void | maybe rented.
"""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.intents import token_from
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.reconcile import as_destroying, row_for
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.market import Offer, at_kept_bid
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.actions import RentOffer
from chalicelib.core.scaling.facts import group_caps
from chalicelib.core.scaling.reasons import Reason
from chalicelib.ports.errors import ConflictError
from chalicelib.ports.ledger import IntentState, RentIntent
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    CreateRequest,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)
from chalicelib.services.market.lanes import quiet_token
from chalicelib.services.market.launching import (
    LaunchFacts,
    create_request,
    launch_facts,
    report_url,
)
from chalicelib.services.market.paced_market import TooEarlyError
from chalicelib.services.rounds.acting import NO_CREDIT_CODES, Acting, destroy
from chalicelib.services.rounds.foresight import rental_ask

CREATED_STOPPED = "created_stopped"  # a contract that Vast could not start: it is returned


def rent(acting: Acting, group: EndpointGroup, autogroup: Autogroup, action: RentOffer) -> None:
    """Rent the offer, or the next alternative where it was just taken.

    Raises:
        GuardRefusedError: a cap would be exceeded; nothing was rented.
        TooEarlyError: its turn comes after this round; Vast was not asked.
        RateLimitedError: Vast wants us to wait; nothing was rented.
        RefusedError: Vast refuses for want of credit, which all offers share.
        MarketplaceError: it is not known whether something was rented; the intent stays open.
    """
    if not acting.market.has_time_for(Verb.CREATE):
        raise TooEarlyError("create: its turn comes after this round", 0.0)
    launch, account = launch_facts(acting.market, autogroup), acting.ports.ledger.account()
    problem = "every offer was just taken"
    for offer in map(at_kept_bid, (action.offer, *action.alternatives)):
        if offer.is_bid and acting.bids_rest(autogroup.autogroup_id):
            break
        intent = _intent(acting, autogroup, offer, launch, account.n_lanes)
        url = report_url(acting.ports, account, intent.token)
        try:
            acting.ports.ledger.reserve(acting.fence, intent, group_caps(group), intent.planned_at)
            request = create_request(acting.ports, group, intent, launch, url)
            _create(acting, intent, request, action.reason)
        except (OfferGoneError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.code in NO_CREDIT_CODES:
                raise
            # Vast's reason may be this offer's own: it is set aside, and the next one is tried. One
            # that was just taken may stay listed for hours; its machine is not to blame for that.
            is_gone = isinstance(error, OfferGoneError)
            acting.failed_offer(
                autogroup.autogroup_id, offer, str(error), blames_machine=not is_gone
            )
            problem = str(error)
            if not acting.market.has_time_for(Verb.CREATE):
                break
            continue
        except (AmbiguousCreateError, MarketplaceUnavailableError) as error:
            acting.failed_offer(autogroup.autogroup_id, offer, str(error))
            raise
        acting.rented_offer(autogroup.autogroup_id, offer)
        return
    acting.note_failure(action, problem)


def _intent(
    acting: Acting, autogroup: Autogroup, offer: Offer, launch: LaunchFacts, n_lanes: int
) -> RentIntent:
    ports = acting.ports
    now = ports.clock.now()
    ask = rental_ask(autogroup.endpoint_id, offer, launch.disk_gb)
    return RentIntent(
        token=token_from(_random_part(acting, n_lanes), ports.secrets.mac),
        endpoint_id=autogroup.endpoint_id,
        autogroup_id=autogroup.autogroup_id,
        state=IntentState.PLANNED,
        planned_at=now,
        offer_id=offer.offer_id,
        machine_id=offer.machine_id,
        host_id=offer.host_id,
        gpu_name=offer.gpu_name,
        num_gpus=offer.num_gpus,
        usd_per_hour=offer.usd_per_hour,
        storage_usd_per_hour=offer.storage_usd_per_hour,
        reserved_microusd_per_hour=ask.microusd_per_hour,
        reserved_once_microusd=ask.once_microusd,
        dlperf=offer.dlperf,
        load_s=round(offer.load_s),
        is_bid=offer.is_bid,
        bid_usd_per_hour=offer.bid_usd_per_hour if offer.is_bid else 0.0,
        bid_margin=offer.bid_margin,
        on_demand_usd_per_hour=offer.on_demand_usd_per_hour,
        place=offer.geolocation,
        key_id=ports.signer.newest(now).key_id,
        template_revision=autogroup.template_revision,
        uses_ssl=launch.uses_ssl,
        worker_port=launch.worker_port,
    )


def _random_part(acting: Acting, n_lanes: int) -> str:
    """Of a token: it says also in which lane the machine will report."""
    others = (row.token for row in acting.rows.values())
    return quiet_token(lambda: acting.ports.randomness.token(8), others, n_lanes)


def _create(acting: Acting, intent: RentIntent, request: CreateRequest, reason: Reason) -> None:
    try:
        instance_id = acting.market.call(Verb.CREATE, lambda vast: vast.create_instance(request))
        _check_new(acting, instance_id)
    except (OfferGoneError, RateLimitedError, RefusedError) as error:
        _settle(acting, intent, IntentState.VOID, problem=str(error))
        raise
    except AmbiguousCreateError as error:
        if error.contract_id is not None and not _is_known(acting, error.contract_id):
            _return_contract(acting, intent, error.contract_id)
            raise RefusedError(CREATED_STOPPED, str(error)) from error
        _settle(acting, intent, IntentState.MAYBE_RENTED, problem=str(error))
        raise
    except MarketplaceUnavailableError as error:
        _settle(acting, intent, IntentState.MAYBE_RENTED, problem=str(error))
        raise
    now = acting.ports.clock.now()
    add_row(acting, row_for(intent, instance_id, now), reason)
    _settle(acting, intent, IntentState.CONFIRMED, instance_id=instance_id)


def _is_known(acting: Acting, instance_id: int) -> bool:
    return instance_id in acting.listed or instance_id in acting.rows


def _check_new(acting: Acting, instance_id: int) -> None:
    """Hold what a create names against what was there before: it may be the owner's own machine.

    Raises:
        AmbiguousCreateError: it was there before; ours, if there is one, is found by its label.
    """
    if _is_known(acting, instance_id):
        raise AmbiguousCreateError(f"Vast named instance {instance_id}, which was there before")


def _return_contract(acting: Acting, intent: RentIntent, contract_id: int) -> None:
    """`success: false` with a contract id is a rental, stopped and paid: it must go."""
    now = acting.ports.clock.now()
    worker = as_destroying(row_for(intent, contract_id, now), now, "created stopped")
    add_row(acting, worker)
    _settle(acting, intent, IntentState.CONFIRMED, instance_id=contract_id)
    destroy(acting, [contract_id])


def add_row(acting: Acting, worker: Worker, reason: Reason | None = None) -> None:
    """Add a worker row; one that is there already stays as it is."""
    try:
        acting.ports.workers.add(worker)
    except ConflictError:
        return
    acting.added(worker, reason)


def _settle(
    acting: Acting,
    intent: RentIntent,
    state: IntentState,
    *,
    instance_id: int | None = None,
    problem: str = "",
) -> None:
    now = acting.ports.clock.now()
    is_settled = state in (IntentState.CONFIRMED, IntentState.VOID)
    acting.ports.ledger.put_intent(
        acting.fence,
        replace(
            intent,
            state=state,
            instance_id=instance_id,
            problem=problem[:200],
            attempt_ended_at=now,
            settled_at=now if is_settled else None,
        ),
    )
