"""Which image a tag stands for today: asked of its registry, from the owner's machine.

OCI distribution: `HEAD /v2/NAME/manifests/TAG` answers with `Docker-Content-Digest`; a registry
that wants a token says in `WWW-Authenticate` where there is one, for anonymous readers too.
Docker Hub's names are completed as Docker does: `python` is `docker.io/library/python`.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import requests

from ballast.bearer import bearer, nobody
from ballast.bounded import ask
from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import is_loopback
from ballast.templates import RegistryLogin

TIMEOUT_S = 20.0
HUB, HUB_HOST = "docker.io", "registry-1.docker.io"
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')


def digest_of(image: str, tag: str, login: RegistryLogin | None = None) -> str:
    """The digest that a tag stands for now: `sha256:` and 64 hex digits.

    Raises:
        CliError: the registry does not answer, does not know the tag, or wants a login.
    """
    host, name = _split(image)
    scheme = "http" if is_loopback(host.partition(":")[0]) else "https"
    url = f"{scheme}://{host}/v2/{name}/manifests/{tag}"
    try:
        answer = _head(url, "")
        if answer.status_code == requests.codes.unauthorized:
            answer = _head(url, _token(answer, login))
    except (requests.RequestException, ValueError) as error:
        raise CliError(
            f"the registry {host} does not answer ({type(error).__name__})",
            code=ExitCode.UNREACHABLE,
            fix="try again, or publish without --pin",
        ) from error
    digest = answer.headers.get("Docker-Content-Digest", "")
    if not answer.ok or not _DIGEST.fullmatch(digest):
        raise CliError(
            f"the registry {host} does not tell what {image}:{tag} is (HTTP {answer.status_code})",
            fix="is the tag right? A private image needs --registry and --registry-user",
        )
    return digest


def _split(image: str) -> tuple[str, str]:
    """(host, name of the repository)."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return HUB_HOST, image if slash else f"library/{image}"
    return (HUB_HOST if first == HUB else first), rest


def _head(url: str, token: str) -> requests.Response:
    return ask(
        "HEAD",
        url,
        headers={"Accept": ACCEPT},
        auth=bearer(token) if token else nobody,
        timeout=TIMEOUT_S,
        allow_redirects=False,
    )


def _token(refusal: requests.Response, login: RegistryLogin | None) -> str:
    """A token to read with, from where the registry says; a login goes over TLS alone.

    Raises:
        ValueError: the registry names no such place.
    """
    challenge = dict(_CHALLENGE.findall(refusal.headers.get("WWW-Authenticate", "")))
    realm = urlsplit(challenge.pop("realm", ""))
    if realm.scheme != "https" and not is_loopback(realm.hostname or ""):
        raise ValueError("the registry names no place for tokens")
    answer = ask(
        "GET",
        realm.geturl(),
        params=challenge,
        auth=(login.user, login.password) if login else nobody,
        timeout=TIMEOUT_S,
        allow_redirects=False,
    )
    content = answer.json()
    token = content.get("token") or content.get("access_token") if isinstance(content, dict) else ""
    return token if isinstance(token, str) else ""
