"""Keys of what a prompt begins with, so that a conversation finds the worker that remembers it.

The control plane may not read prompts, nor guess them: a key is an HMAC-SHA256 under a secret that
stays with the caller (`ballast/client/affinity_secret.py`). Under one secret equal beginnings have
equal keys; under two they have nothing in common. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.wire.token_cost import CHARACTERS_PER_TOKEN, PROMPT_SHARE, prompt_tokens

TEXT_STEPS = (1_024, 8_192)
"""Characters of a plain prompt that make a key. A prompt grows by its turns, and of the steps that
it is long enough for, the keys stay the same."""

SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Affinity:
    """Keys from general to special; for each, the part of the cost that a warm worker is spared.

    No part is told where the payload has no text to tell it by: unknown is not zero.
    """

    keys: tuple[str, ...] = ()
    prefix_cost: tuple[float, ...] = ()

    def fields(self) -> dict[str, object]:
        """As `/route/` takes them; nothing where there is no key."""
        if not self.keys:
            return {}
        told = {"prefix_cost": list(self.prefix_cost)} if self.prefix_cost else {}
        return {"affinity": list(self.keys), **told}


NO_AFFINITY = Affinity()


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A part that others may begin with, too: what it is, and its length in tokens."""

    parts: tuple[object, ...]
    tokens: float
    kept_tokens: float | None = None  # of the prompt, if more of it was there before


def affinity_of(
    secret: bytes, endpoint: str, payload: Mapping[str, object], conversation: str = ""
) -> Affinity:
    """What to tell `/route/` of a payload.

    A warm worker is spared each token of the beginning, as workers count it who tell of their
    caches; also the first ones, whose reading a price leaves out.
    `conversation`: an id by the caller's choice, instead of the first turn; OpenAI's clients may
    send it in the payload as `prompt_cache_key`.
    """
    beginnings = _beginnings(payload)
    named = conversation or payload.get("prompt_cache_key")
    if isinstance(named, str) and named:
        if not beginnings:
            return Affinity((_key(secret, endpoint, payload, ("conversation", named)),))
        last = beginnings[-1]
        special = _Beginning(("conversation", named), last.tokens, last.kept_tokens)
        beginnings = [*beginnings[:-1], special]
    return Affinity(
        tuple(_key(secret, endpoint, payload, beginning.parts) for beginning in beginnings),
        tuple(
            _rounded(PROMPT_SHARE * max(beginning.tokens, beginning.kept_tokens or 0.0))
            for beginning in beginnings
        ),
    )


def _key(
    secret: bytes, endpoint: str, payload: Mapping[str, object], parts: Sequence[object]
) -> str:
    """Caches are of one model, and of one salt where the model server takes one (vLLM)."""
    whole = [endpoint, payload.get("model"), payload.get("cache_salt"), *parts]
    try:
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), default=repr)
    except TypeError:  # names of several types, which have no order until JSON makes texts of them
        read = json.loads(json.dumps(whole, default=repr))
        text = json.dumps(read, sort_keys=True, separators=(",", ":"))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]


def _beginnings(payload: Mapping[str, object]) -> list[_Beginning]:
    """What is likely to be shared, the most general first."""
    messages = payload.get("messages", payload.get("input"))
    if isinstance(messages, list) and all(isinstance(m, Mapping) for m in messages) and messages:
        return _of_messages(payload, messages)
    for name in ("prompt", "inputs", "input"):
        prompt = payload.get(name)
        if isinstance(prompt, str):
            return _of_text(prompt, 1)
        if isinstance(prompt, list) and all(isinstance(token, int) for token in prompt):
            return _of_text(prompt, round(CHARACTERS_PER_TOKEN))
    return []


def _of_messages(
    payload: Mapping[str, object], messages: Sequence[Mapping[str, object]]
) -> list[_Beginning]:
    n_system = 0
    while n_system < len(messages) and messages[n_system].get("role") in SYSTEM_ROLES:
        n_system += 1
    rules = [payload.get("instructions"), payload.get("tools"), list(messages[:n_system])]
    rules_tokens = prompt_tokens(rules)
    opening = list(messages[n_system : n_system + 1])
    kept_tokens = rules_tokens
    if len(messages) > n_system + 1:
        kept_tokens += prompt_tokens(list(messages[n_system:-1]))
    beginnings = [_Beginning(("rules", rules), rules_tokens)] if rules_tokens else []
    if opening:
        beginnings.append(_Beginning(("turns", rules, opening), rules_tokens, kept_tokens))
    return beginnings


def _of_text(prompt: Sequence[object], characters_each: int) -> list[_Beginning]:
    steps = [step // characters_each for step in TEXT_STEPS]
    return [
        _Beginning(("text", list(prompt[:step])), step * characters_each / CHARACTERS_PER_TOKEN)
        for step in steps
        if len(prompt) >= step
    ]


def _rounded(cost: float) -> float:
    """Two digits: enough to weigh a wait, and too few to know a text by its length."""
    if cost <= 0:
        return 0.0
    return round(cost, 1 - math.floor(math.log10(cost)))
