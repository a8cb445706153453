"""The few calls to Vast that the owner makes with their own key, never with the deployment's.

Paths and fields: protocol.md F.4.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import Json, Server
from ballast.cli.terminal.asking import secret_of
from ballast.templates import RegistryLogin

TEMPLATE_PATH = "/api/v0/template/"
COPIED = (
    "name", "image", "tag", "onstart", "extra_filters", "recommended_disk_space", "runtype",
    "href", "repo", "jup_direct", "ssh_direct", "use_ssh", "use_jupyter_lab", "args_str", "desc",
)  # fmt: skip
GATED_PREFIXES = (
    "meta-llama/", "mistralai/", "google/gemma", "black-forest-labs/flux.1-dev",
    "stabilityai/stable-diffusion-3", "bigcode/starcoder", "cohereforai/", "codellama/",
)  # fmt: skip


def connect_vast() -> Server:
    """Vast with VAST_API_KEY, or a key that is asked for and not shown.

    Raises:
        CliError: no key, and nobody to ask.
    """
    url = os.environ.get("BALLAST_VAST_URL", "https://console.vast.ai")
    return Server(url, secret_of("VAST_API_KEY", "Vast API key"))


def find_template(vast: Server, hash_id: str) -> Json:
    """A template by its hash.

    Raises:
        CliError: there is none that this key may see.
    """
    query = urlencode(
        {"select_cols": '["*"]', "select_filters": json.dumps({"hash_id": {"eq": hash_id}})}
    )
    found: Sequence[Json] = vast.get(f"{TEMPLATE_PATH}?{query}").get("templates") or []
    for template in found:
        if template.get("hash_id") == hash_id:
            return template
    raise CliError(
        f"Vast knows no template {hash_id}",
        code=ExitCode.REFUSED,
        fix="copy the hash from the template's page; a template edit gives a new hash",
    )


def private_copy(
    template: Mapping[str, object], env: Mapping[str, str], login: RegistryLogin | None = None
) -> Json:
    """The body of a private copy with these variables, and its own registry login or this one.

    Raises:
        CliError: a value could not travel in a docker flag string.
    """
    for name, value in env.items():
        if not value or any(letter.isspace() or letter in "'\"\\`$" for letter in value):
            raise CliError(
                f"{name} is empty, or holds spaces or quotes, which cannot travel in a template",
                code=ExitCode.USAGE,
                fix="paste the bare value",
            )
    body: Json = {name: template[name] for name in COPIED if template.get(name) is not None}
    kept = _without(docker_flags(template.get("env")), env)
    flags = [kept, *(f"-e {name}={value}" for name, value in env.items())]
    logins = RegistryLogin().members()
    kept_login = {name: str(template.get(name) or "") for name in logins}
    body |= login.members() if login else kept_login
    return body | {"env": " ".join(flag for flag in flags if flag), "private": True}


def docker_flags(env: object) -> str:
    """A template's environment as docker flags; Vast may give a text or an object."""
    if not isinstance(env, Mapping):
        return env if isinstance(env, str) else ""
    return " ".join(
        str(name) if str(name).startswith("-") else f"-e {name}={value}"
        for name, value in env.items()
    )


def gated_warning(model: str, *, has_token: bool) -> Sequence[str]:
    """What to tell about a model that is known to need an accepted licence at Hugging Face."""
    if not model.lower().startswith(GATED_PREFIXES):
        return []
    need = "of this token" if has_token else "of a token, which is missing here"
    return [
        f"{model} is gated: accept its licence at Hugging Face with the account {need}, "
        "or no worker will ever load it"
    ]


def template_variable(template: Mapping[str, object], name: str) -> str:
    """The value of an environment variable in a template's docker flags; "" if it is not set."""
    for flag in docker_flags(template.get("env")).split():
        if flag.startswith(f"{name}="):
            return flag.partition("=")[2].strip("'\"")
    return ""


def vast_host(vast: Server) -> str:
    """The host that the key goes to, for messages."""
    return urlsplit(vast.url).hostname or vast.url


def _without(flags: str, env: Mapping[str, str]) -> str:
    """Docker flags without `-e NAME=…` of these names."""
    kept: list[str] = []
    for word in flags.split():
        if word.partition("=")[0] in env and kept and kept[-1] in ("-e", "--env"):
            kept.pop()
        else:
            kept.append(word)
    return " ".join(kept)
