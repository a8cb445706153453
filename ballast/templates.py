"""Template definitions: what an owner publishes at Vast, per back end, as data with checks.

`workers/NAME/template.json` holds image, environment, filters. The launch script becomes the
template's onstart, and the worker bundle is pinned by its digest.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chalicelib.core.model.market import Pin, pin_of

_FOLDER = Path(__file__).parents[1] / "workers"
LAUNCH_SCRIPT = _FOLDER / "launch" / "start.sh"
WORKER_PORT = 3000
_GATED_OWNERS = ("meta-llama/", "google/gemma", "mistralai/", "black-forest-labs/FLUX.1-dev")


class TemplateError(ValueError):
    """The template cannot be published as asked; the message says what is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryLogin:
    """How the host gets at a private image; the empty one for public images."""

    registry: str = ""  # "ghcr.io"
    user: str = ""
    password: str = field(default="", repr=False)

    def members(self) -> dict[str, str]:
        """As Vast takes it: all three are required, empty where there is none.

        Source: tests/evidence/vast/template.json, template-create-docs.
        """
        return {
            "docker_login_repo": self.registry,
            "docker_login_user": self.user,
            "docker_login_pass": self.password,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTemplate:
    """A back end's template before an owner's values are put in."""

    back_end: str
    name: str
    image: str
    tag: str
    env: Mapping[str, str]
    disk_gb: float
    extra_filters: Mapping[str, object]
    model_variable: str  # the variable that names the model; empty: there is none
    models: tuple[str, ...]  # its only values; empty: any
    may_be_gated: bool
    setup: str = ""  # a shell line that comes first, for what the image lacks

    def warnings(self, env: Mapping[str, str]) -> list[str]:
        """What will probably go wrong, to be told before anything is rented."""
        model = env.get(self.model_variable, "") if self.model_variable else ""
        is_gated = self.may_be_gated and (model.startswith(_GATED_OWNERS) or model == "flux")
        if is_gated and not env.get("HF_TOKEN"):
            return [
                f"the model {model} is gated: without HF_TOKEN no worker will ever load it. "
                "Accept its terms on Hugging Face and give a token that may read gated repositories"
            ]
        return []

    def to_request(
        self, env: Mapping[str, str], bundle_sha256: str, login: RegistryLogin | None = None
    ) -> dict[str, object]:
        """The body of Vast's `POST /api/v0/template/`, private, with these values put in.

        Raises:
            TemplateError: the model is not named or not known, or a value cannot travel.
        """
        merged = {"BACKEND": self.back_end, **self.env, **env, "BUNDLE_SHA256": bundle_sha256}
        if self.model_variable and not merged.get(self.model_variable):
            raise TemplateError(f"{self.model_variable} must name the model")
        model = merged.get(self.model_variable, "")
        if self.models and model not in self.models:
            raise TemplateError(
                f"{self.model_variable}={model} is not known; one of: {', '.join(self.models)}"
            )
        for name, value in merged.items():
            if not name.isidentifier() or any(c in value for c in "\n\r\0"):
                raise TemplateError(f"{name} cannot be an environment variable with that value")
        flags = [f"-e {name}={shlex.quote(value)}" for name, value in merged.items()]
        return {
            "name": self.name,
            "image": self.image,
            "tag": self.tag,
            "env": " ".join([f"-p {WORKER_PORT}:{WORKER_PORT}", *flags]),
            "onstart": onstart(self.setup),
            # `onstart` runs under Vast's ssh and jupyter launches only; "args" starts the image's
            # own entrypoint instead (docs.vast.ai/launch-modes).
            "runtype": "ssh",
            "use_ssh": True,
            "ssh_direct": True,
            "private": True,
            "recommended_disk_space": self.disk_gb,
            "extra_filters": dict(self.extra_filters),
            **(login or RegistryLogin()).members(),
        }


def exact_tag(tag: str) -> str:
    """The tag, if it names one build of an image: what it stands for today is there tomorrow.

    A version is that by its owner's habit alone, `3.3.6@sha256:…` by what it is.

    Raises:
        TemplateError: it moves, such as `latest` or `3.12-slim`.
    """
    if pin_of(f"image:{tag}") is Pin.NONE:
        raise TemplateError(
            f"image tag {tag!r} may be another image tomorrow, with your HF_TOKEN and prompts in "
            "it; give an exact version such as 3.3.6, or 3.3.6@sha256:…"
        )
    return tag


def onstart(setup: str = "") -> str:
    """The launch script without its comments, as it goes into a template; `setup` comes first."""
    lines = LAUNCH_SCRIPT.read_text().splitlines()
    first = [lines[0], setup] if setup else [lines[0]]
    kept = [*first, *(line for line in lines[1:] if not line.lstrip().startswith("#"))]
    return "\n".join(kept) + "\n"


def template_names() -> list[str]:
    """The back ends that have a template, sorted."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/template.json"))


def load_template(back_end: str) -> WorkerTemplate:
    """The template of a back end.

    Raises:
        TemplateError: there is none.
    """
    if back_end not in template_names():
        raise TemplateError(f"no template {back_end!r}; one of: {', '.join(template_names())}")
    fields = json.loads((_FOLDER / back_end / "template.json").read_text())
    return WorkerTemplate(
        back_end=back_end,
        name=fields["name"],
        image=fields["image"],
        tag=fields["tag"],
        env=fields["env"],
        disk_gb=fields["recommended_disk_space"],
        extra_filters=fields["extra_filters"],
        model_variable=fields["model_variable"],
        models=tuple(fields.get("models", ())),
        may_be_gated=fields["may_be_gated"],
        setup=fields.get("setup", ""),
    )
