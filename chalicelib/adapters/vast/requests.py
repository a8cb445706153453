"""From our requests to the bodies and batches that Vast takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chalicelib.ports.marketplace import CreateRequest, MarketplaceError, RefusedError
from chalicelib.wire import vast as wire
from chalicelib.wire.json_body import WireError


def body_of_create(request: CreateRequest) -> dict[str, object]:
    """The body of a create.

    Raises:
        RefusedError: `invalid_args`, before anything is sent.
    """
    options = dict(request.extra)
    for name, value in (("image", request.image), ("onstart", request.onstart)):
        if value is not None:
            options[name] = value
    try:
        return wire.create_body(
            label=request.label,
            template_hash=request.template_hash,
            disk_gb=request.disk_gb,
            env=request.env,
            options=options,
            bid_usd_per_hour=request.bid_usd_per_hour,
        )
    except WireError as error:
        raise RefusedError("invalid_args", str(error)) from error


def body_of_bid(usd_per_hour: float) -> dict[str, object]:
    """The body of a change of a bid.

    Raises:
        RefusedError: `invalid_args`, before anything is sent.
    """
    try:
        return {"client_id": "me", "price": wire.bid_price(usd_per_hour)}
    except WireError as error:
        raise RefusedError("invalid_args", str(error)) from error


def params_of_template(hash_id: str) -> dict[str, str]:
    """The parameters that find a template.

    Raises:
        RefusedError: `invalid_args`, before anything is sent.
    """
    try:
        return wire.template_params(hash_id)
    except WireError as error:
        raise RefusedError("invalid_args", str(error)) from error


def destroy_in_batches(
    instance_ids: Sequence[int],
    destroy: Callable[[Sequence[int]], Mapping[int, str]],
    pause: Callable[[], None],
) -> dict[int, str]:
    """The outcome for each id, by bulk calls with a pause between them.

    A refused batch, or one that fails after another went through, says so for each of its ids.

    Raises:
        MarketplaceError: the first batch failed, so nothing is known to have been done.
    """
    outcomes: dict[int, str] = {}
    for batch in wire.bulk_batches(instance_ids):
        if outcomes:
            pause()
        try:
            outcomes |= destroy(batch)
        except RefusedError as error:
            outcomes |= dict.fromkeys(batch, str(error))
        except MarketplaceError as error:
            if not outcomes:
                raise
            outcomes |= dict.fromkeys(batch, f"{type(error).__name__}: {error}")
    return outcomes
