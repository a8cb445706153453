"""`up MODEL` and `down NAME`: from a model's name to its first token, and back to nothing."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Sequence

import click

from ballast.cli.commands.account.brakes import destroy
from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import list_endpoints
from ballast.cli.models.choice import BACK_ENDS, Choice, choose
from ballast.cli.models.hub import ModelFacts, fetch_facts, model_name
from ballast.cli.parameters import NUMBER, SECONDS, WHOLE, Finite
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.remote.vast import (
    TEMPLATE_PATH,
    connect_vast,
    find_template,
    gated_warning,
    template_variable,
)
from ballast.cli.terminal.cost import show_cost, why_nothing_comes
from ballast.cli.terminal.display import clean
from ballast.cli.terminal.progress import PROMPT, follow, question_for
from ballast.templates import TemplateError

_HASH = re.compile(r"[0-9a-f]{32,64}")
_MODEL_VARIABLES = ("MODEL_NAME", "MODEL_ID", "COMFY_MODEL")


@click.command("up")
@click.argument("model")
@click.option("--name", help="Of the endpoint group; else the model's.")
@click.option("--back-end", type=click.Choice((*BACK_ENDS, "openai")), help="Instead of the guess.")
@click.option(
    "--memory-gb",
    type=Finite(0, 10_000, min_open=True),
    help="GPU memory it needs; then nothing is looked up.",
)
@click.option("--quantisation", default="", help="Of a GGUF repository, such as Q5_K_M.")
@click.option("--search", help="Machines wanted, instead of what the memory asks for.")
@click.option("--max-usd-per-hour", type=NUMBER, help="Cap of the group.")
@click.option("--max-workers", type=WHOLE, default=2, show_default=True, help="Most machines.")
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=2700, show_default=True, help="Seconds to wait."
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the first answer.")
@click.option("--dry-run", is_flag=True, help="Show what it would rent and cost, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask: rent as shown.")
@connection_options
@pass_session
def up(session: Session, /, model: str, yes: bool, dry_run: bool, **values: object) -> None:
    """From a model's name at Hugging Face, or a template's hash, to a URL that answers.

    Picks back end and machines, shows plan and price, asks, rents, and waits for the first token.

    \b
    ballast up Qwen/Qwen2.5-7B-Instruct --max-usd-per-hour 1
    ballast up $TEMPLATE_HASH --name chat
    """
    wanted = _Wanted(session, model, values)
    name = wanted.name
    if any(row["endpoint_name"] == name for row in list_endpoints(session.server)):
        raise CliError(
            f"there is an endpoint group {name!r} already",
            fix=f"--name ANOTHER, or `ballast down {name}` first",
        )
    if not session.wants_json:
        for line in wanted.lines:
            session.notes.print(line)
    [shown] = show_cost(session, [wanted.preview()])
    held = why_nothing_comes(shown)
    if dry_run:
        session.show({**shown, "plan_of": wanted.lines}, "Nothing was done (--dry-run)")
        return
    question = f"Create endpoint group {name!r}, and rent as shown?"
    if held:
        question = f"Nothing would be rented now ({held}). Create endpoint group {name!r} anyway?"
    session.confirm(question, is_sure=yes)
    endpoint = wanted.create()
    if held and not values["no_wait"]:
        raise CliError(
            f"{name} is made, and nothing is rented for it now: {held}",
            code=ExitCode.CHECK_FAILED,
            fix=f"once that is over it rents by itself, and `ballast call {name} …` waits for the "
            f"first answer; `ballast down {name}` ends it",
        )
    done: Json = {"id": endpoint["id"], "endpoint_name": name, "url": session.server.url}
    if not values["no_wait"]:
        timeout_s = values["timeout_s"]
        asked = question_for(wanted.back_end, wanted.model)
        limit_s = float(timeout_s) if isinstance(timeout_s, int | float) else 2700.0
        done |= follow(session, endpoint, asked, limit_s)
    session.show(done, *calls(session.server.url, name, wanted.back_end, wanted.model))


@click.command("down")
@click.argument("name")
@click.option(
    "--wait/--no-wait", default=True, help="Stay until Vast lists no instance of it any more."
)
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=900, show_default=True, help="Seconds to wait."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@click.pass_context
def down(context: click.Context, name: str, wait: bool, timeout_s: float, yes: bool) -> None:
    """End what `up` began: destroy the group's machines, and verify that none is left.

    Its private template stays at Vast; it costs nothing.

    \b
    ballast down chat
    """
    context.invoke(destroy, name=name, wait=wait, timeout_s=timeout_s, yes=yes)


class _Wanted:
    """What is to be made, of a model or of a template that is there."""

    def __init__(self, session: Session, model: str, values: dict[str, object]) -> None:
        self._session = session
        self._values = values
        self._given_search = str(values.get("search") or "")
        self._template_hash = ""
        self._choice: Choice | None = None
        self._token = os.environ.get("HF_TOKEN", "")
        self.lines: list[str] = []
        if _HASH.fullmatch(model):
            self._take_template(model)
        elif name := model_name(model):
            self._take_model(name)
        else:
            raise CliError(
                f"{model!r} is neither a model's name nor a template's hash",
                code=ExitCode.USAGE,
                fix="write ORG/NAME as on its page at Hugging Face (a file in it by --quantisation "
                "Q4_K_M), or the 32 letters of a hash",
            )

    @property
    def name(self) -> str:
        """Of the endpoint group."""
        given = self._values.get("name")
        return str(given) if given else _group_name(self.model)

    def preview(self) -> Json:
        """The question what it would do and cost; nothing is made for it."""
        autogroup = self._autogroup()
        if self._choice is not None:
            autogroup.pop("template_hash")
            autogroup["launch_args"] = self._choice.launch_args
        return {"endpoint": self._endpoint(), "autogroup": autogroup}

    def create(self) -> Json:
        """Make template, group and autogroup; gives the group's row."""
        server = self._session.server
        if self._choice is not None:
            self._template_hash = self._publish(self._choice)
        identity = server.post("/api/v0/endptjobs/", self._endpoint())["result"]
        server.post("/api/v0/autojobs/", {**self._autogroup(), "endpoint_id": identity})
        row: Json = server.get(f"/api/v0/endptjobs/{identity}/")["result"]
        return row

    def _take_template(self, hash_id: str) -> None:
        found = find_template(connect_vast(), hash_id)
        self._template_hash = hash_id
        self.back_end = str(
            self._values.get("back_end") or template_variable(found, "BACKEND") or "openai"
        )
        names = [template_variable(found, one) for one in _MODEL_VARIABLES]
        self.model = next((one for one in names if one), hash_id[:8])
        self.lines.append(f"template {clean(found.get('name'))}: {self.model}, {self.back_end}")

    def _take_model(self, model: str) -> None:
        memory_gb = self._values.get("memory_gb")
        given_gb = float(memory_gb) if isinstance(memory_gb, int | float) else 0.0
        if not math.isfinite(given_gb):  # which no range refuses
            raise CliError(f"--memory-gb {given_gb} is no size", code=ExitCode.USAGE)
        facts = ModelFacts(name=model) if given_gb else fetch_facts(model, self._token)
        back_end = str(self._values.get("back_end") or "")
        choice = choose(
            facts,
            back_end={"openai": "vllm"}.get(back_end, back_end),
            memory_gb=given_gb,
            quantisation=str(self._values.get("quantisation") or ""),
        )
        self._choice, self.model = choice, choice.model
        self.back_end = "embeddings" if choice.embeds else choice.back_end
        self.lines += [choice.sentence(), f"machines: {self._search()}"]
        if facts.is_gated and not self._token:  # it would be rented, and never be ready
            raise CliError(
                f"{choice.model} is gated: without a token no machine can fetch it",
                fix=f"accept its terms at https://huggingface.co/{choice.model}, then set HF_TOKEN",
            )
        if not facts.names:  # nobody was asked
            told = gated_warning(self.model, has_token=bool(self._token))
            self.lines += [f"! {one}" for one in told]

    def _search(self) -> str:
        return self._given_search or (self._choice.search if self._choice else "")

    def _endpoint(self) -> Json:
        cap = self._values.get("max_usd_per_hour")
        caps = {} if cap is None else {"max_usd_per_hour": cap}
        return {
            "endpoint_name": self.name,
            "max_workers": self._values["max_workers"],
            "cold_workers": 1,
            **caps,
        }

    def _autogroup(self) -> Json:
        search = {"search_params": self._search()} if self._search() else {}
        return {"template_hash": self._template_hash, "test_workers": 1, **search}

    def _publish(self, choice: Choice) -> str:
        env = {**choice.env, **({"HF_TOKEN": self._token} if self._token else {})}
        bundle = self._session.server.get("/bundle/")["sha256"]
        try:
            body = choice.template.to_request(env, str(bundle))
        except TemplateError as error:
            raise CliError(str(error), code=ExitCode.USAGE) from error
        answer = connect_vast().post(TEMPLATE_PATH, body)
        return str((answer.get("template") or answer).get("hash_id"))


def calls(url: str, name: str, back_end: str, model: str) -> Sequence[str]:
    """The lines that call it: curl, Python, OpenAI."""
    asked = question_for(back_end, model)
    if asked is None:
        return (f"{name} is at {url}; docs/clients.md says how to call it",)
    lines = [
        f"{name} answers. A key for callers:",
        f"ballast create key --name app --endpoint_name {name}",
        "",
        "# Python",
        *(("import base64",) if back_end == "comfyui" else ()),
        "from ballast import Client",
        f'with Client("blk.…", url="{url}").request(',
        f'    "{name}", "{asked.whole_path}", {asked.whole_payload}, cost={asked.cost:g}',
        ") as answer:",
    ]
    if back_end == "comfyui":
        picture = 'answer.json()["images"][0].partition(",")[2]'
        return [*lines, f'    open("first.png", "wb").write(base64.b64decode({picture}))']
    lines.append("    print(answer.json())")
    if not asked.path.startswith("/v1/"):
        return lines
    body = asked.whole_payload
    if back_end != "embeddings":
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    return [
        *lines,
        "",
        f'# whatever speaks OpenAI: python3 -m ballast.proxy -u {url} -k "$API_KEY"',
        f"curl http://127.0.0.1:8090/{name}{asked.path} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(body))}",
        f'openai.OpenAI(base_url="http://127.0.0.1:8090/{name}/v1", api_key="-")',
    ]


def _group_name(model: str) -> str:
    """A group's name out of a model's: its last part, with what a name may hold."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", model.rpartition("/")[2]).strip(".-")
    return plain[:64].strip(".-") or "model"


COMMANDS = (up, down)
