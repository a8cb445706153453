"""A web page in the browser of who runs the local proxy; a read key against the account's turns."""

from __future__ import annotations

import itertools
import random

from ballast.proxy.guard import ForeignRequestError, Guard
from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.ports.marketplace import RateLimitedError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.preview import PLAN_EVERY_S, plan
from chalicelib.services.rounds.questions import answer
from fakes.bundles.scaler_ports import fake_scaler_ports
from fakes.market.market import Market
from fakes.market.market_config import MarketConfig
from fakes.ports.clock import ManualClock
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.worlds.marketplace import FakeMarketplace
from tests.adversary.game import Action, Game, Script

SIMPLE_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "")
ORIGINS = ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost.evil")
HOSTS = ("127.0.0.1:8080", "localhost:8080", "evil.example", "evil.example:8080", "[::1]:8080")


def _send(dice: random.Random) -> Action:
    """What a page can make a browser send: its Origin, a name of its own, a type without asking."""
    return ("send", dice.choice(ORIGINS), dice.choice(HOSTS),
            dice.choice([*SIMPLE_TYPES, "application/json"]), dice.random() < 0.5)  # fmt: skip


def served_pages(script: Script) -> float:
    """Requests of foreign pages that the proxy's guard lets through."""
    n_served = 0
    for _, origin, host, content_type, is_form_route in script:
        guard = Guard()
        try:
            guard.check({"Origin": str(origin), "Host": str(host)})
            guard.check_body(str(content_type), takes_form=bool(is_form_route))
        except ForeignRequestError:
            continue
        n_served += 1
    return float(n_served)


def rebound(script: Script) -> float:
    """The same without an Origin, as after DNS rebinding: only the Host tells."""
    n_served = 0
    for _, _, host, content_type, _ in script:
        if not str(host).startswith("evil"):
            continue
        try:
            Guard().check({"Host": str(host)})
            Guard().check_body(str(content_type), takes_form=False)
        except ForeignRequestError:
            continue
        n_served += 1
    return float(n_served)


def _question(dice: random.Random) -> Action:
    if dice.random() < 0.3:
        return ("wait", dice.choice([0.1, 1.0, 5.0, 20.0]))
    return ("ask", dice.choice(["plan", "bundles", "balance", "gpu_types"]), dice.randint(1, 20))


def too_many_calls(script: Script) -> float:
    """Plans of a bound key, times what it may have; calls that came too early at Vast."""
    clock, poke = ManualClock(), FakeScalerPoke()
    poke.answers["plan"] = {}
    market = Market(MarketConfig(), seed=1)
    ports = fake_scaler_ports(clock, FakeMarketplace(market, clock), poke=poke)
    group = EndpointGroup(endpoint_id=7, name="llm", created_at=0.0)
    bound = Caller(key_id="e7-o-1", verbs=frozenset({"read"}), endpoint_id=7, generation=1)
    began_at, n_plans = clock.now(), 0
    for _, what, *n in script:
        if not n:
            clock.advance(float(str(what)))
            continue
        for _ in range(int(str(n[0]))):
            try:
                if what == "plan":
                    plan(ports, bound, group)
                    n_plans += 1
                else:
                    answer(ports, {"ask": what, "search": {}})
            except RateLimitedError:
                continue
    at_search = [call.at for call in market.calls if call.verb is Verb.SEARCH]
    space_s = MIN_INTERVAL_S[Verb.SEARCH] + MARGIN_S
    early = sum(b - a < space_s - 1e-6 for a, b in itertools.pairwise(at_search))
    return n_plans / (1 + (clock.now() - began_at) / PLAN_EVERY_S) + early


GAMES = (
    Game(role="web page", goal="spend", measure="requests that the local proxy serves", bound=0.0,
         draw=_send, play=served_pages, length=30, where="the proxy's guard"),
    Game(role="web page", goal="read", measure="answers after DNS rebinding", bound=0.0,
         draw=_send, play=rebound, length=30, where="the proxy's guard"),
    Game(role="read key", goal="starve", measure="plans, times its turns; early calls at Vast",
         bound=1.0, draw=_question, play=too_many_calls, length=12),
)  # fmt: skip
