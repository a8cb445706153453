"""`template publish` and `list`: a private template, of ours or copied; what is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import list_autogroups
from ballast.cli.remote.registry import digest_of
from ballast.cli.remote.server import Json, Server
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.remote.vast import (
    TEMPLATE_PATH,
    connect_vast,
    find_template,
    gated_warning,
    private_copy,
    template_variable,
    vast_host,
)
from ballast.cli.terminal.asking import secret_of
from ballast.cli.terminal.display import clean, table
from ballast.templates import (
    RegistryLogin,
    TemplateError,
    WorkerTemplate,
    exact_tag,
    load_template,
    template_names,
)
from chalicelib.core.model.market import Pin, pin_of


@click.group("template")
def template() -> None:
    """Work with Vast templates, with your own Vast key.

    \b
    ballast template publish tgi --model meta-llama/Meta-Llama-3-8B-Instruct
    """


@template.command("publish")
@click.argument("source")
@click.option("--model", help="The model, e.g. meta-llama/Meta-Llama-3-8B-Instruct.")
@click.option("--no-token", is_flag=True, help="The model is open: set no HF_TOKEN.")
@click.option("--image-tag", help="Another exact version of our back end's image, e.g. 3.3.6.")
@click.option(
    "--pin", is_flag=True, help="Ask the registry what the tag is now, and name it by its digest."
)
@click.option("--registry", help="Private image registry, e.g. ghcr.io; its password is asked.")
@click.option("--registry-user", help="Who logs in there.")
@connection_options
@pass_session
def publish(
    session: Session,
    source: str,
    model: str | None,
    no_token: bool,
    image_tag: str | None,
    pin: bool,
    registry: str | None,
    registry_user: str | None,
) -> None:
    """Publish a private template with your HF_TOKEN; prints its hash.

    SOURCE is a back end of ours (tgi, openai, comfyui, hello_world) or the hash of a template to
    copy. HF_TOKEN, VAST_API_KEY and REGISTRY_PASSWORD come from the environment or are asked for;
    they are never shown and never go through the deployment. A copy keeps the registry login of its
    original as far as Vast shows it.

    \b
    ballast template publish tgi --model meta-llama/Meta-Llama-3-8B-Instruct
    ballast template publish tgi --model org/model --image-tag 3.3.7 --pin
    ballast template publish dcd0920ffd9d026b7bb2d42f0d7479ba --model org/model
    """
    vast = connect_vast()
    token = (
        "" if no_token or not _has_model(source) else secret_of("HF_TOKEN", "HF_TOKEN, type read")
    )
    login = _registry_login(registry, registry_user)
    body, warnings = (
        _of_ours(session, _template_of(source, image_tag), model, token, login)
        if source in template_names()
        else _copy_of(vast, source, model, token, login)
    )
    body, pinned = _pinned(body, login, is_asked=pin)
    for warning in (*warnings, *pinned):
        session.notes.print(f"ballast: warning: {clean(warning)}")
    answer = vast.post(TEMPLATE_PATH, body)
    created = answer.get("template") or answer
    shown: Json = {"template_hash": created.get("hash_id"), "id": created.get("id")}
    session.show(
        shown,
        f"Made a private template at {vast_host(vast)}: {shown['template_hash']}",
        "Next: ballast create autogroup --endpoint_name NAME "
        f"--template_hash {shown['template_hash']}",
    )


@template.command("list")
@connection_options
@pass_session
def list_templates(session: Session) -> None:
    """List our back ends, and the templates that your autogroups use, with their hashes.

    \b
    ballast template list
    """
    rows = list_autogroups(session.server)
    names = {str(one.get("hash_id")): one.get("name") for one in _known(session)}
    used = [
        (row["template_hash"], names.get(row["template_hash"]), row["id"], row["endpoint_name"])
        for row in rows
        if row.get("template_hash")
    ]
    ours = [(name, load_template(name).image, load_template(name).tag) for name in template_names()]
    session.show(
        {
            "back_ends": [{"name": n, "image": image, "tag": tag} for n, image, tag in ours],
            "used": [
                {"template_hash": h, "name": n, "autogroup_id": i, "endpoint_name": e}
                for h, n, i, e in used
            ],
        },
        table(
            "Back ends: ballast template publish NAME --model …", ("name", "image", "?tag"), ours
        ),
        table("In use", ("hash", "name", ">autogroup", "endpoint"), used),
    )


def _known(session: Session) -> Sequence[Json]:
    """The templates in use with their names; none while Vast does not answer."""
    try:
        found: Sequence[Json] = session.server.get("/api/v0/template/").get("templates") or ()
    except CliError as error:
        session.notes.print(f"ballast: names are missing: {clean(error.message)}", style="yellow")
        return ()
    return found


def _has_model(source: str) -> bool:
    """Whether what is published names a model that Hugging Face might guard."""
    return source not in template_names() or bool(load_template(source).model_variable)


def _registry_login(registry: str | None, user: str | None) -> RegistryLogin | None:
    if not registry and not user:
        return None
    if not (registry and user):
        raise CliError(
            "a registry login needs both --registry and --registry-user", code=ExitCode.USAGE
        )
    password = secret_of("REGISTRY_PASSWORD", f"Password of {user} at {registry}")
    return RegistryLogin(registry=registry, user=user, password=password)


def _template_of(back_end: str, image_tag: str | None) -> WorkerTemplate:
    ours = load_template(back_end)
    try:
        return ours if image_tag is None else replace(ours, tag=exact_tag(image_tag))
    except TemplateError as error:
        raise CliError(str(error), code=ExitCode.USAGE, fix="--image-tag 1.2.3") from error


def _pinned(
    body: Mapping[str, object], login: RegistryLogin | None, *, is_asked: bool
) -> tuple[Mapping[str, object], Sequence[str]]:
    """The template with its image by digest, if that is asked for, and what is to be known of it.

    Raises:
        CliError: the registry does not tell.
    """
    image, tag = str(body.get("image") or ""), str(body.get("tag") or "")
    name = f"{image}:{tag}" if tag else image
    if is_asked and pin_of(name) is not Pin.DIGEST:
        repository = image if tag else image.rpartition(":")[0] or image
        wanted = tag or image[len(repository) + 1 :] or "latest"
        digest = digest_of(repository, wanted, login)
        note = f"the image is {name}@{digest} from now on; nobody has tried a digest at Vast yet"
        return {**body, "image": repository, "tag": f"{wanted}@{digest}"}, [note]
    match pin_of(name):
        case Pin.DIGEST:
            return body, ()
        case Pin.VERSION:
            return body, [f"whoever owns the image's tag may move {name}: --pin names its digest"]
        case _:
            return body, [
                f"image {name} may be another one tomorrow, with your HF_TOKEN and prompts in it: "
                "--pin names today's by its digest"
            ]


def _of_ours(
    session: Session,
    ours: WorkerTemplate,
    model: str | None,
    token: str,
    login: RegistryLogin | None,
) -> tuple[Mapping[str, object], Sequence[str]]:
    env = {"HF_TOKEN": token} if token else {}
    if model and ours.model_variable:
        env[ours.model_variable] = model
    bundle = session.server.get("/bundle/")["sha256"]
    try:
        return ours.to_request(env, str(bundle), login), ours.warnings(env)
    except TemplateError as error:
        fix = "say which model: --model ORG/NAME"
        raise CliError(str(error), code=ExitCode.USAGE, fix=fix) from error


def _copy_of(
    vast: Server, hash_id: str, model: str | None, token: str, login: RegistryLogin | None
) -> tuple[Mapping[str, object], Sequence[str]]:
    original = find_template(vast, hash_id)
    env = {name: value for name, value in (("MODEL_ID", model), ("HF_TOKEN", token)) if value}
    name = model or template_variable(original, "MODEL_ID")
    return private_copy(original, env, login), gated_warning(name, has_token=bool(token))


COMMANDS = (template,)
