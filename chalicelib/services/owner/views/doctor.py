"""Checks of the deployment from inside, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.core.model.market import Pin, pin_of
from chalicelib.core.words import count
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import PortError
from chalicelib.ports.marketplace import MarketplaceUnavailableError, RateLimitedError
from chalicelib.services.keys import Caller
from chalicelib.services.market.key_rights import SLOW
from chalicelib.services.owner.groups import list_groups
from chalicelib.services.owner.receivers import receiver_rows

Row = dict[str, object]
Ask = Callable[[Mapping[str, object]], Mapping[str, object]]

_UNHEARD = frozenset({"pending", "failed"})
WAIT = "Vast does not answer now: wait, what runs serves on; then try again"
MOST_S = 10.0
"""Nothing more is asked of Vast after so long: API Gateway ends the whole answer at 29 s, and one
call to Vast may take 25 s without being in error."""
MOVES = "may be another one tomorrow: name an exact version, or a digest"


def run_checks(ports: ApiPorts, caller: Caller, stage: str) -> list[Row]:
    """Checks of the deployment of this stage, each with its fix."""
    started = ports.clock.monotonic()

    def ask(question: Mapping[str, object]) -> Mapping[str, object]:
        if ports.clock.monotonic() - started > MOST_S:
            raise MarketplaceUnavailableError(SLOW)
        return ports.poke.ask(question)

    checks = [
        _check("database", "DynamoDB answers",
               lambda: count(len(ports.groups.list_groups()), "group"),
               f"`python -m infra.deploy core --stage {stage}` makes its tables; see docs/aws.md"),
        _check("kms", "KMS lets keys be made", lambda: ports.secrets.prove("doctor") and "ok",
               "allow this function kms:Decrypt on the deployment's key"),
        _check("signing key", "a signing key exists", lambda: ports.signer.newest().key_id,
               f"`python -m infra.bootstrap --stage {stage}` makes one"),
        _check("scaler", "the scaler and Vast answer", lambda: _balance(ask),
               "see the scaler's log; check the Vast key in Secrets Manager"),
        _check("alerts", "somebody is told of trouble", lambda: _told(ports),
               "`ballast notify add email you@example.com`, follow the link in AWS's message, "
               "then `ballast notify test`"),
        _check("vast key", "it may do what Ballast needs", lambda: _key_scope(ask),
               "give the key instance_read, instance_write, misc and user_read on Vast's page; "
               f"then `ballast secret set VAST_API_KEY --stage {stage}`"),
    ]  # fmt: skip
    for group in list_groups(ports, caller):
        for autogroup in ports.groups.list_autogroups(group.endpoint_id):
            if autogroup.template_hash:
                checks += _template_checks(ask, group.name, autogroup.template_hash)
    return checks


def template_warnings(ports: ApiPorts, template_hash: str) -> list[str]:
    """What an owner should know of a template before machines are rented for it.

    Nothing while the scaler or Vast does not answer: that is no reason to refuse anybody.
    """
    if not template_hash:
        return []
    try:
        template = ports.poke.ask({"ask": "template", "hash_id": template_hash}).get("template")
    except PortError:
        return []
    if not isinstance(template, Mapping):
        return [
            f"template_hash: Vast knows no template {template_hash[:80]!r}, so nothing can be "
            "rented; give the hash of one that exists"
        ]
    warnings, image = [], template.get("image")
    if isinstance(image, str) and image and pin_of(image) is Pin.NONE:
        warnings.append(f"template_hash: image {image[:100]!r} {MOVES}")
    names = template.get("env_names")
    if isinstance(names, list) and "MODEL_ID" in names and "HF_TOKEN" not in names:
        warnings.append(
            "template_hash: this template has no HF_TOKEN, so a gated model will not load; "
            "make a private copy with it and use the copy's hash"
        )
    return warnings


def _template_checks(ask: Ask, group_name: str, template_hash: str) -> list[Row]:
    fix = "check the hash; a public template needs a private copy with HF_TOKEN set"
    name = f"template of {group_name}"
    try:
        answer = ask({"ask": "template", "hash_id": template_hash})
    except PortError as error:
        wait = "Vast or the scaler does not answer: nothing is known of the template; try again"
        return [{"name": name, "ok": False, "detail": str(error), "fix": wait}]
    template = answer.get("template")
    if not isinstance(template, Mapping):
        return [{"name": name, "ok": False, "detail": f"{template_hash} is unknown", "fix": fix}]
    names, image = template.get("env_names"), str(template.get("image") or "")
    is_pinned = pin_of(image) is not Pin.NONE
    has_token = isinstance(names, list) and "HF_TOKEN" in names
    return [
        {"name": name, "ok": True, "detail": str(template.get("name", "")), "fix": ""},
        {
            "name": f"image of {name}",
            "ok": is_pinned or not image,
            "detail": image[:100] if is_pinned or not image else f"{image[:100]} {MOVES}",
            "fix": "" if is_pinned or not image else "ballast template publish HASH --pin",
        },
        {
            "name": f"HF_TOKEN in {name}",
            "ok": has_token,
            "detail": "present" if has_token else "absent; gated models will not load",
            "fix": "" if has_token else "set HF_TOKEN in a private copy of the template",
        },
    ]


def _check(name: str, what: str, probe: object, fix: str) -> Row:
    try:
        detail = probe() if callable(probe) else ""
    except (MarketplaceUnavailableError, RateLimitedError) as error:
        return {"name": name, "ok": False, "detail": str(error), "fix": WAIT}
    except PortError as error:
        return {"name": name, "ok": False, "detail": str(error), "fix": fix}
    return {"name": name, "ok": True, "detail": f"{what}: {detail}", "fix": ""}


def _told(ports: ApiPorts) -> str:
    rows = receiver_rows(ports)
    heard = [f"{row['name']} ({row['state']})" for row in rows if row["state"] not in _UNHEARD]
    unheard = [f"{row['name']} ({row['state']})" for row in rows if row["state"] in _UNHEARD]
    if not heard:
        raise PortError(
            f"not yet confirmed: {', '.join(unheard)}" if unheard else "there is no receiver"
        )
    return ", ".join([*heard, *unheard])


def _balance(ask: Ask) -> str:
    answer = ask({"ask": "balance"})
    credit = answer.get("credit_usd")
    known = isinstance(credit, int | float)
    return f"${credit:.2f} of credit" if known else "credit unknown: Vast did not say"


def _key_scope(ask: Ask) -> str:
    answer = ask({"ask": "key_scope"})
    refused, tried = answer.get("refused"), answer.get("tried")
    if isinstance(refused, Mapping) and refused:
        raise PortError("; ".join(f"{name}: {problem}" for name, problem in refused.items()))
    unanswered = answer.get("unanswered")
    if isinstance(unanswered, Mapping) and unanswered:
        told = "; ".join(f"{name}: {problem}" for name, problem in unanswered.items())
        raise MarketplaceUnavailableError(told)
    names = ", ".join(str(name) for name in tried) if isinstance(tried, list) else "nothing"
    return f"{names} tried; renting is not tried here"
