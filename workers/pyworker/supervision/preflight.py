"""What must be right before a model server is started, told in words an owner can act on."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from workers.pyworker.back_end import BackEnd
from workers.pyworker.registry import BackEndError, load_back_end

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+\Z")


class PreflightError(Exception):
    """The worker cannot start; the message names the cause and the fix."""


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """What Hugging Face answered: HTTP status and its own error code (header X-Error-Code)."""

    status: int
    error_code: str = ""


AskHub = Callable[[str, str], Awaitable[HubAnswer | None]]
"""GET (path, token or "") at Hugging Face; None when it cannot be reached."""


def check_environment(env: Mapping[str, str]) -> BackEnd:
    """The back end, once everything it needs is set.

    Raises:
        PreflightError: a variable is missing or wrong.
    """
    try:
        back_end = load_back_end(env.get("BACKEND", ""))
    except (BackEndError, ValueError) as error:
        raise PreflightError(str(error)) from error
    for name in ("MODEL_LOG", *back_end.required_env):
        if not env.get(name, "").strip():
            raise PreflightError(f"{name} must be set in the template for BACKEND={back_end.name}")
    route = env.get("BENCHMARK_ROUTE", "")
    try:
        back_end.with_benchmark(route, 0, 0)
    except KeyError as error:
        raise PreflightError(
            f"BENCHMARK_ROUTE={route!r} is no benchmark of {back_end.name}"
        ) from error
    return back_end


async def check_model_access(env: Mapping[str, str], ask_hub: AskHub) -> None:
    """Whether the model can be downloaded with the token there is.

    Raises:
        PreflightError: it certainly cannot. Doubt (no answer, another status) stops nothing.
    """
    model = env.get("MODEL_ID") or env.get("MODEL_NAME") or ""
    token = env.get("HF_TOKEN", "").strip()
    if not _REPOSITORY.match(model):
        return  # a local path or an alias
    if token:
        who = await ask_hub("/api/whoami-v2", token)
        if who and who.status == 401:
            raise PreflightError("HF_TOKEN is wrong: Hugging Face does not accept it")
    answer = await ask_hub(f"/api/models/{model}/auth-check", token)
    if answer is None or answer.status < 400:
        return
    if answer.error_code == "GatedRepo" and not token:
        raise PreflightError(f"HF_TOKEN must be set: the model {model} is gated")
    if answer.error_code == "GatedRepo":
        raise PreflightError(
            f"HF_TOKEN has no access to the gated model {model}: accept its terms on its page, "
            "and let the token read gated repositories"
        )
    if answer.error_code == "RepoNotFound":
        raise PreflightError(f"there is no model {model}, or HF_TOKEN may not see it")
