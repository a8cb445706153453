"""Named faults of the marketplace, switched on and off at run time.

| fault | effect | options |
|---|---|---|
| deprecated-list | the listing answers 410 deprecated_endpoint | |
| empty-list | the listing is well-formed and empty | |
| html-list | the listing answers 200 with a web page | |
| page-missing | the last page never comes | |
| token-loop | the listing gives the same page token for ever | |
| duplicate-ids | an instance is on two pages | |
| listing-lags | the listing shows the market as it was a while ago | lag_s (45) |
| create-timeout-rented | a create rents, and its answer is lost | |
| create-timeout-not-rented | a create does nothing, and its answer is lost | |
| success-false-contract | a create is refused, with a stopped contract | |
| offer-gone | every offer was just taken | |
| boot-error | what loads while this is on fails | |
| load-stuck | what loads while this is on loads for ever | |
| start-refused | a start finds its GPU let to somebody else | |
| start-stuck | a start is accepted and never happens | |
| partial-bulk | a bulk call does every second id only | |
| stop-ignored | a stop is accepted and never happens | |
| reboot-ignored | a reboot is accepted and never happens | |
| destroy-ignored | a destroy is accepted and never happens | |
| destroy-fails | a destroy answers 500 and does nothing | |
| destroy-404 | a destroy answers 404 and does nothing | |
| 429-storm | every call is refused as too frequent | |
| market-down | every call answers 503 and does nothing | |
| credit-zero | no money left: everything is stopped, nothing starts | |
| spend-rate-limit | creates are refused for the account's rate of spending, whatever its credit | |
| host-dies | hosts go offline, until switched off | instance_id (the oldest running) |
| interrupted | instances are stopped by the market | instance_id (all running) |
| outbid | others bid twice as much for interruptible machines, until off | instance_id (all) |
| price-increase | offers cost more; running contracts end soon | factor (1.5), notice_s (3600) |

`times` (any fault of a call): switches itself off after so many calls met it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """See the table above."""

    DEPRECATED_LIST = "deprecated-list"
    EMPTY_LIST = "empty-list"
    HTML_LIST = "html-list"
    PAGE_MISSING = "page-missing"
    TOKEN_LOOP = "token-loop"  # noqa: S105  a page token
    DUPLICATE_IDS = "duplicate-ids"
    LISTING_LAGS = "listing-lags"
    CREATE_TIMEOUT_RENTED = "create-timeout-rented"
    CREATE_TIMEOUT_NOT_RENTED = "create-timeout-not-rented"
    SUCCESS_FALSE_CONTRACT = "success-false-contract"
    OFFER_GONE = "offer-gone"
    BOOT_ERROR = "boot-error"
    LOAD_STUCK = "load-stuck"
    START_REFUSED = "start-refused"
    START_STUCK = "start-stuck"
    PARTIAL_BULK = "partial-bulk"
    STOP_IGNORED = "stop-ignored"
    REBOOT_IGNORED = "reboot-ignored"
    DESTROY_IGNORED = "destroy-ignored"
    DESTROY_FAILS = "destroy-fails"
    DESTROY_404 = "destroy-404"
    STORM_429 = "429-storm"
    MARKET_DOWN = "market-down"
    CREDIT_ZERO = "credit-zero"
    SPEND_RATE_LIMIT = "spend-rate-limit"
    HOST_DIES = "host-dies"
    INTERRUPTED = "interrupted"
    OUTBID = "outbid"
    PRICE_INCREASE = "price-increase"


DEFAULT_OPTIONS: Mapping[Fault, Mapping[str, float]] = {
    Fault.LISTING_LAGS: {"lag_s": 45.0},
    Fault.PRICE_INCREASE: {"factor": 1.5, "notice_s": 3_600.0},
    Fault.HOST_DIES: {"instance_id": 0.0},
    Fault.INTERRUPTED: {"instance_id": 0.0},
    Fault.OUTBID: {"instance_id": 0.0},
}


class UnknownFaultError(ValueError):
    """No fault, or no option of it, has this name; the message lists those that exist."""


@dataclass(slots=True)
class FaultBoard:
    """Which faults are on, with their options."""

    active: dict[Fault, dict[str, float]] = field(default_factory=dict)

    def switch_on(self, name: str, options: Mapping[str, float]) -> Fault:
        """Switch a fault on; on again replaces its options.

        Raises:
            UnknownFaultError: for a fault or option that does not exist.
        """
        fault = parse_fault(name)
        known = {**DEFAULT_OPTIONS.get(fault, {}), "times": 0.0}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise UnknownFaultError(f"{fault}: no option {unknown[0]!r}; known: {sorted(known)}")
        self.active[fault] = {**known, **options}
        return fault

    def switch_off(self, name: str) -> Fault:
        """Switch a fault off, if it is on.

        Raises:
            UnknownFaultError: for a fault that does not exist.
        """
        fault = parse_fault(name)
        self.active.pop(fault, None)
        return fault

    def is_on(self, fault: Fault) -> bool:
        """Whether it is on, without counting."""
        return fault in self.active

    def strikes(self, fault: Fault) -> bool:
        """Whether it is on for this call; a fault with `times` switches itself off in the end."""
        options = self.active.get(fault)
        if options is None:
            return False
        if options["times"] > 0:
            options["times"] -= 1
            if options["times"] == 0:
                del self.active[fault]
        return True

    def option(self, fault: Fault, name: str) -> float:
        """An option's value, its default if the fault is off."""
        return self.active.get(fault, DEFAULT_OPTIONS[fault])[name]


def parse_fault(name: str) -> Fault:
    """The fault of this name.

    Raises:
        UnknownFaultError: there is none.
    """
    try:
        return Fault(name)
    except ValueError as error:
        raise UnknownFaultError(f"no fault {name!r}; known: {[str(f) for f in Fault]}") from error
