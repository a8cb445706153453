"""`template publish`: a private copy of a template that holds your HF_TOKEN."""

from __future__ import annotations

import os

import click

from cli.server import Json
from cli.session import Session, connection_options, pass_session
from cli.vast import (
    TEMPLATE_PATH,
    connect_vast,
    find_template,
    is_gated,
    private_copy,
    template_variable,
    vast_host,
)


@click.group("template")
def template() -> None:
    """Work with Vast templates, with your own Vast key."""


@template.command("publish")
@click.argument("template_hash")
@click.option("--model", help="Set MODEL_ID, e.g. meta-llama/Meta-Llama-3-8B-Instruct.")
@click.option("--no-token", is_flag=True, help="The model is open: set no HF_TOKEN.")
@connection_options
@pass_session
def publish(session: Session, template_hash: str, model: str | None, no_token: bool) -> None:
    """Copy a template to your account, private, with HF_TOKEN set; prints the new hash.

    HF_TOKEN and VAST_API_KEY come from the environment or are asked for; they are never shown and
    never go through the deployment.

    \b
    ballast template publish dcd0920ffd9d026b7bb2d42f0d7479ba --model org/model
    """
    vast = connect_vast()
    original = find_template(vast, template_hash)
    env: dict[str, str] = {"MODEL_ID": model} if model else {}
    name = model or template_variable(original, "MODEL_ID")
    if not no_token:
        env["HF_TOKEN"] = os.environ.get("HF_TOKEN") or click.prompt(
            "HF_TOKEN, type read (not shown)", hide_input=True
        )
    if is_gated(name):
        session.notes.print(
            f"{name} is gated: accept its licence on its page at Hugging Face with the account of "
            "this token, or every worker fails to load"
            + (" (and it needs a token)" if no_token else "")
        )
    answer = vast.post(TEMPLATE_PATH, private_copy(original, env))
    created = answer.get("template") or answer
    shown: Json = {
        "template_hash": created.get("hash_id"),
        "id": created.get("id"),
        "private": True,
    }
    session.show(
        shown,
        f"Made a private copy at {vast_host(vast)}: {shown['template_hash']}",
        "Next: ballast create autogroup --endpoint_name NAME "
        f"--template_hash {shown['template_hash']}",
    )


COMMANDS = (template,)
