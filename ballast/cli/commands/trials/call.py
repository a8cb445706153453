"""`call NAME "prompt"`: one request by route and worker, as a client sends it."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import find_endpoint
from ballast.cli.models.questions import (
    Question,
    files_of,
    has_no_such_path,
    questions,
    text_of,
)
from ballast.cli.parameters import DURATION, WHOLE, Finite, Whole
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.display import clean, clean_text, duration, json_text
from ballast.client.call_progress import CallTrace
from ballast.client.errors import CallError, RouteRefusedError, WorkerRefusedError
from ballast.client.sdk import DEFAULT_COST, Answer, Client
from ballast.client.sse import event_data
from ballast.client.transport import check_authority
from chalicelib.wire.ticket import MAX_COST

NOTE_AFTER_S = 2.0


@click.command("call")
@click.argument("name")
@click.argument("prompt", required=False)
@click.option(
    "--max-tokens", type=Whole(1), default=256, show_default=True, help="At most so many."
)
@click.option("--system", default="", help="System prompt, of a chat.")
@click.option("--model", default="", help="Name sent along; without one the server takes its own.")
@click.option("--path", help="Path at the worker; without it, the first that its back end has.")
@click.option("--data", help="Payload as JSON, @FILE or - (standard input), instead of a prompt.")
@click.option(
    "--cost",
    type=Finite(0, MAX_COST),
    help="Work asked for; without it, what the prompt asks for.",
)
@click.option("--seed", type=WHOLE, help="Of an image; else random.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="For images."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=DURATION,
    default="10m",
    show_default=True,
    help="Until a worker begins to answer.",
)
@click.option("--worker-ca", help="PEM file to trust for workers that name no certificate.")
@connection_options
@pass_session
def call(session: Session, /, name: str, prompt: str | None, **options: object) -> None:
    """Send one request to an endpoint group, and print the answer as it comes.

    It is routed, waits for a worker, and goes to that worker, as any client's. Images are written
    to files.

    \b
    ballast call TGI-Llama3 "What is the best movie of all time?"
    ballast call Flux "a lighthouse at dawn" --out pictures
    ballast call Chat --path /v1/embeddings --data '{"input": "Hi"}'
    """
    asked = _asked(prompt, options)
    ca = None if options["worker_ca"] is None else str(options["worker_ca"])
    try:
        check_authority(ca)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    row = find_endpoint(session.server, name)
    key = str(row.get("api_key") or "")
    if not key:
        raise CliError(
            "this key may not route",
            code=ExitCode.UNAUTHORISED,
            fix="`ballast create key --name NAME --verb route --verb read` makes one that may",
        )
    said = _Said(session, _folder(options))
    waiting = _Waiting(session, int(row["id"]))
    with Client(key, session.server.url, worker_ca=ca, pause=waiting.pause) as client:
        _ask(client, str(row["endpoint_name"]), asked, said, float(str(options["timeout_s"])))
    said.finish()


def _ask(client: Client, name: str, asked: list[Question], said: _Said, timeout_s: float) -> None:
    """The first question whose path the worker has.

    Raises:
        CliError: it came to nothing.
    """
    for number, question in enumerate(asked):
        is_stream = question.payload.get("stream") is True or question.path.endswith("_stream")
        send = client.stream if is_stream else client.request
        try:
            with send(
                name, question.path, question.payload, cost=question.cost, timeout_s=timeout_s
            ) as answer:
                said.take(answer)
                return
        except WorkerRefusedError as error:
            if number + 1 < len(asked) and has_no_such_path(error):
                continue
            raise _failed(error) from error
        except CallError as error:
            raise _failed(error) from error


def _failed(error: CallError) -> CliError:
    fix = "`ballast status` says what the group does"
    if isinstance(error, WorkerRefusedError):
        fix = "the worker took the request and its model server refused it: --data sends another"
        if has_no_such_path(error):
            fix = "--path and --data say what this back end takes (docs/templates.md)"
    code = ExitCode.CHECK_FAILED
    if isinstance(error, RouteRefusedError):
        is_key = error.http_status in (401, 403)
        code = ExitCode.UNAUTHORISED if is_key else ExitCode.REFUSED
    return CliError(str(error), code=code, fix=fix)


class _Said:
    """An answer, printed as it comes; as JSON, one object at its end."""

    def __init__(self, session: Session, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self._text = ""
        self._last: Json = {}
        self._n_events = 0
        self._files: list[str] = []
        self._trace: CallTrace | None = None
        self._began = time.monotonic()

    def take(self, answer: Answer) -> None:
        """Read it to its end.

        Raises:
            CallError: it broke off, or says that the model server failed.
        """
        self._trace = answer.trace
        try:
            if "event-stream" in answer.content_type:
                for data in event_data(answer.chunks()):
                    if data != "[DONE]":
                        self._take(data)
            else:
                self._take(answer.content().decode(errors="replace"))
        finally:
            if self._n_events and self._text and not self._session.wants_json:
                click.echo()  # what is said next begins a line, also why half of it is missing

    def _take(self, data: str) -> None:
        try:
            event = json.loads(data)
        except ValueError:
            event = {"text": data}
        self._n_events += 1
        if not isinstance(event, dict):
            event = {"answer": event}
        if event.get("type") == "progress" and event.get("max"):
            self._session.notes.print(f"step {event.get('value')} of {event['max']}")
            return
        self._last = event
        text = text_of(event)
        self._text += text
        if not self._session.wants_json:
            click.echo(clean_text(text), nl=False)

    def finish(self) -> None:
        """Write images, and say what was made and how long it took.

        Raises:
            CliError: an image cannot be written.
        """
        for number, (ending, content) in enumerate(files_of(self._last)):
            path = self._folder / f"ballast-{int(time.time())}-{number}.{ending}"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise CliError(f"{path} cannot be written: {error.strerror}") from error
            self._files.append(str(path))
        trace = self._trace or CallTrace()
        took_s = time.monotonic() - self._began
        told = {
            "worker": trace.worker_urls[-1] if trace.worker_urls else "",
            "n_workers_tried": len(trace.worker_urls),
            "waited_s": round(trace.wait_s, 3),
            "first_byte_s": round(trace.first_byte_s, 3),
            "total_s": round(took_s, 3),
            "trace_id": trace.trace_id,
        }
        if self._session.wants_json:
            shown = {} if self._files else {"answer": self._last}
            self._session.show({"text": self._text, **shown, "files": self._files, **told})
            return
        for file in self._files:
            click.echo(file)
        if not self._text and not self._files:
            click.echo(json_text(self._last, indent=None))
        self._session.notes.print(
            f"by {told['worker']}: {duration(trace.wait_s)} until a worker was free, "
            f"{duration(trace.first_byte_s)} until it began, {duration(took_s)} in all"
        )


class _Waiting:
    """Waits for a worker; once it takes long it says so, and what the group is in trouble with."""

    def __init__(self, session: Session, endpoint_id: int) -> None:
        self._session = session
        self._endpoint_id = endpoint_id
        self._waited_s = 0.0
        self._is_told = False

    def pause(self, pause_s: float) -> None:
        """Wait so many seconds.

        Raises:
            CliError: the group has no autogroup, so no worker would ever come.
        """
        self._waited_s += pause_s
        if self._waited_s > NOTE_AFTER_S and not self._is_told:
            self._is_told = True
            self._tell()
        time.sleep(pause_s)

    def _tell(self) -> None:
        self._session.notes.print("no worker is free yet: waiting (Ctrl-C ends the request)")
        try:
            answer = self._session.server.get("/api/v0/status", endpoint_id=self._endpoint_id)
        except CliError:  # it may not read, or the status is slow: the request itself may be fine
            return
        for group in answer["groups"]:
            if not group["autogroups"]:
                name = group["endpoint_name"]
                raise CliError(
                    f"endpoint {name!r} has no autogroup: no worker will come",
                    fix=f"`ballast create autogroup --endpoint_name {name} --template_hash HASH`",
                )
            for reason in group.get("health_reasons", ()):
                self._session.notes.print(f"  {clean(reason)}", style="yellow")


def _asked(prompt: str | None, options: Mapping[str, object]) -> list[Question]:
    """What to send: the payload that was given, or the prompt in each back end's shape."""
    path, data, cost = options["path"], options["data"], options["cost"]
    if (prompt is None) == (data is None):
        raise click.UsageError("give either a prompt or --data")
    if data is not None:
        if not path:
            raise click.UsageError("--data needs --path, such as /v1/chat/completions")
        payload = _payload(str(data))
        asked = [Question(path=str(path), payload=payload, cost=DEFAULT_COST)]
    else:
        seed = options["seed"]
        asked = questions(
            str(prompt),
            int(str(options["max_tokens"])),
            model=str(options["model"]),
            system=str(options["system"]),
            seed=secrets.randbits(32) if seed is None else int(str(seed)),
        )
        if path:
            known = [one for one in asked if one.path == path]
            if not known:
                paths = ", ".join(one.path for one in asked)
                raise click.UsageError(f"--path {path} needs --data; a prompt fits {paths}")
            asked = known
    if cost is None:
        return asked
    return [Question(path=q.path, payload=q.payload, cost=float(str(cost))) for q in asked]


def _payload(text: str) -> dict[str, object]:
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        payload = json.loads(text)
    except OSError as error:
        raise click.UsageError(f"--data {text}: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"--data is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise click.UsageError("--data must be a JSON object")
    return payload


def _folder(options: Mapping[str, object]) -> Path:
    folder = options["out"]
    return folder if isinstance(folder, Path) else Path()


COMMANDS = (call,)
