"""One graph at a ComfyUI, by its own API: submit, follow, fetch, clean up; interrupt if left.

Shapes: tests/evidence/models/comfyui-0.3.64.json.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from workers.comfyui.outputs import fetched, files_of, texts_of
from workers.comfyui.workflow import made_ready
from workers.pyworker.back_end import PayloadError
from workers.pyworker.model.forms import form_of
from workers.pyworker.model.jobs import JobFailedError, JobResult, JsonObject, Tell

logger = logging.getLogger(__name__)

FIRST_POLL_S, MAX_POLL_S = 0.02, 0.5
MAX_MUTE = 10
"""Such answers in a row: some seconds of them."""
ASK_TIMEOUT = aiohttp.ClientTimeout(total=30)
STOP_TIMEOUT_S, STOP_LIMIT_S = 5.0, 600.0
"""A graph's end is waited for by the next request, and then by nobody."""
FOLDER = "ballast"
UI_FORMAT = (
    "this is the file of ComfyUI's editor, which its API does not take: "
    "export it with Workflow > Export (API) and send that"
)
_OURS = ("out of memory", "cuda", "cudnn", "device-side", "no space left")
"""Words of failures that are the machine's rather than the graph's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to run. `work` is the load without the nodes that were still known.

    `is_ours`: the graph is the worker's own, so that a refusal of it is the worker's failure.
    """

    graph: JsonObject
    images: dict[str, str]  # name in the graph → data URL
    work: Callable[[frozenset[str]], float]
    wants_events: bool
    is_ours: bool


async def run_graph(
    http: aiohttp.ClientSession, url: str, order: Order, tell: Tell, home: Path
) -> JobResult:
    """Run it; `home` is ComfyUI's folder, whose outputs and inputs of this run are removed.

    Raises:
        PayloadError: an image is no data URL.
        JobFailedError: ComfyUI refused the graph, or a node failed; in its own words.
        aiohttp.ClientError: ComfyUI is gone, or lost the graph.
    """
    if isinstance(order.graph.get("nodes"), list):
        raise JobFailedError(400, {"error": UI_FORMAT}, is_clients=True)
    for name, node in order.graph.items():
        # A class that is a list is a 500 of ComfyUI's; of all else that is odd it says what it is.
        if not isinstance(node, dict) or isinstance(node.get("class_type"), list | dict):
            words = f"node {name!r:.50} must be an object with class_type (a text) and inputs"
            raise JobFailedError(400, {"error": words}, is_clients=True)
    run = _Run(http, url, order, tell)
    try:
        return await run.result()
    finally:
        await asyncio.shield(run.end(home))


_STOPPING: set[asyncio.Task[None]] = set()


async def _in_any_case(step: Coroutine[object, object, None]) -> None:
    """Take a step to its end, also for a client that leaves: only its answer names the graph."""
    task = asyncio.create_task(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=STOP_TIMEOUT_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


class _Run:
    def __init__(self, http: aiohttp.ClientSession, url: str, order: Order, tell: Tell) -> None:
        self._http = http
        self._url = url
        self._order = order
        self._tell = tell
        self._client_id = uuid.uuid4().hex
        self._folder = f"{FOLDER}/{self._client_id}"
        self._prompt_id = ""
        self._left_out: object = None
        self._is_over = False

    async def result(self) -> JobResult:
        """Submit and follow to the end."""
        uploads = {
            name: await self._upload(f"{place}{_suffix(name)}", name, data)
            for place, (name, data) in enumerate(self._order.images.items())
        }
        graph = made_ready(self._order.graph, self._folder, uploads)
        events = None
        if self._order.wants_events:
            events = asyncio.create_task(self._pass_events())
        try:
            await _in_any_case(self._submit(graph))
            row = await self._followed()
        finally:
            if events:
                events.cancel()
                await asyncio.gather(events, return_exceptions=True)
        self._is_over = True
        self._check(row)
        try:
            answer: JsonObject = {**await fetched(self._http, self._url, files_of(row))}
        except ValueError as error:
            raise JobFailedError(422, {"error": str(error)}, is_clients=True) from error
        if texts := texts_of(row):
            answer["text"] = texts
        if self._left_out:
            answer["node_errors"] = self._left_out
        if not answer:
            words = "the workflow did not produce any images, videos, audio or text"
            raise JobFailedError(422, {"error": words}, is_clients=True)
        answer.setdefault("images", [])
        return JobResult(answer, self._order.work(frozenset(_cached(row))))

    async def _upload(self, filename: str, name: str, data_url: str) -> str:
        fields: JsonObject = {"image": data_url, "subfolder": self._folder, "overwrite": "true"}
        try:
            form = form_of(fields, filename)
        except PayloadError as error:
            raise PayloadError({"images": f"{name!r:.50}: {error.fields['image']}"}) from error
        async with self._http.post(
            f"{self._url}/upload/image", data=form, timeout=ASK_TIMEOUT
        ) as answer:
            if answer.status != 200:
                words = f"ComfyUI did not take the image {name!r:.50} ({answer.status})"
                is_clients = answer.status < 500
                raise JobFailedError(
                    422 if is_clients else 500, {"error": words}, is_clients=is_clients
                )
            stored = _object(await answer.read())
        if not isinstance(stored.get("name"), str):
            raise aiohttp.ClientPayloadError("ComfyUI does not say where an upload lies")
        return f"{stored.get('subfolder') or ''}/{stored['name']}".lstrip("/")

    async def _submit(self, graph: JsonObject) -> None:
        body = {"prompt": graph, "client_id": self._client_id}
        async with self._http.post(f"{self._url}/prompt", json=body, timeout=ASK_TIMEOUT) as answer:
            told = _object(await answer.read())
        if answer.status != 200 or not isinstance(told.get("prompt_id"), str):
            is_clients = 400 <= answer.status < 500 and not self._order.is_ours
            raise JobFailedError(
                400 if is_clients else 500,
                told or {"error": f"ComfyUI answered {answer.status}"},
                is_clients=is_clients,
            )
        self._prompt_id = str(told["prompt_id"])
        self._left_out = told.get("node_errors")  # it runs what is right in a graph

    async def _followed(self) -> JsonObject:
        """The history's row once it is there; lost when the queue does not know it either.

        Nor is it followed where history or queue answer no JSON object with 200, again and again.
        """
        pause_s, n_absent, n_mute = FIRST_POLL_S, 0, 0
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, MAX_POLL_S)
            rows = await self._get(f"/history/{self._prompt_id}")
            row = (rows or {}).get(self._prompt_id)
            if isinstance(row, dict):
                return row
            queue = await self._get("/queue") if pause_s >= MAX_POLL_S else {}
            n_mute = n_mute + 1 if rows is None or queue is None else 0
            if n_mute > MAX_MUTE:
                raise aiohttp.ServerDisconnectedError("ComfyUI does not say how the prompt is")
            if queue and self._prompt_id not in json.dumps(queue):
                n_absent += 1  # it may have ended between the two questions
                if n_absent > 3:
                    raise aiohttp.ServerDisconnectedError("ComfyUI lost the prompt")

    async def _get(self, path: str) -> JsonObject | None:
        async with self._http.get(self._url + path, timeout=ASK_TIMEOUT) as answer:
            if answer.status != 200:
                return None
            told = await answer.read()
        return _object(told) if told.lstrip()[:1] == b"{" else None

    async def _pass_events(self) -> None:
        """Progress as ComfyUI tells it: `{"type": "progress", "node", "value", "max"}`."""
        socket_url = f"{self._url}/ws?clientId={self._client_id}"
        with suppress(aiohttp.ClientError):
            async with self._http.ws_connect(socket_url) as socket:
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue
                    event = _object(message.data.encode())
                    data = event.get("data")
                    if event.get("type") == "progress" and isinstance(data, dict):
                        told = {key: data.get(key) for key in ("node", "value", "max")}
                        await self._tell({"type": "progress", **told})

    def _check(self, row: JsonObject) -> None:
        status = row.get("status")
        if not isinstance(status, dict) or status.get("status_str") != "error":
            return
        for kind, told in _messages(status):
            if kind == "execution_error":
                words = str(told.get("exception_message") or "").strip()
                is_ours = any(word in words.lower() for word in _OURS)
                error = {
                    "type": told.get("exception_type"),
                    "message": words,
                    "node_id": told.get("node_id"),
                    "node_type": told.get("node_type"),
                }
                is_clients = not (is_ours or self._order.is_ours)
                raise JobFailedError(
                    422 if is_clients else 500, {"error": error}, is_clients=is_clients
                )
        raise JobFailedError(500, {"error": "the workflow was interrupted"}, is_clients=False)

    async def end(self, home: Path) -> None:
        """Stop what still runs, and remove what this run left behind.

        A node that does not stop at once is not waited for; what it leaves is removed later.
        """
        stopping = asyncio.create_task(self._stop_and_remove(home))
        _STOPPING.add(stopping)
        stopping.add_done_callback(_STOPPING.discard)
        await asyncio.wait({stopping}, timeout=STOP_TIMEOUT_S)

    async def _stop_and_remove(self, home: Path) -> None:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(STOP_LIMIT_S):
                if self._prompt_id and not self._is_over:
                    await self._stop()
                if self._prompt_id:
                    await self._post("/history", {"delete": [self._prompt_id]})
        for name in ("output", "input"):
            await asyncio.to_thread(
                shutil.rmtree, home / name / FOLDER / self._client_id, ignore_errors=True
            )

    async def _stop(self) -> None:
        """ComfyUI looks between two steps, and writes what it stopped into its history."""
        await self._post("/queue", {"delete": [self._prompt_id]})
        pause_s = FIRST_POLL_S
        while not self._http.closed:
            await self._post("/interrupt", {"prompt_id": self._prompt_id})
            if self._prompt_id not in json.dumps(await self._get("/queue")):
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, MAX_POLL_S)

    async def _post(self, path: str, body: JsonObject) -> None:
        async with self._http.post(self._url + path, json=body, timeout=ASK_TIMEOUT):
            pass


def _suffix(name: str) -> str:
    """The end of a file's name, by which some nodes tell its kind; "" without a plain one."""
    found = re.search(r"\.[A-Za-z0-9]{1,10}$", name)
    return found[0].lower() if found else ""


def _cached(row: JsonObject) -> list[str]:
    for kind, told in _messages(row.get("status")):
        if kind == "execution_cached":
            nodes = told.get("nodes")
            return [str(node) for node in nodes] if isinstance(nodes, list) else []
    return []


def _messages(status: object) -> Iterator[tuple[object, JsonObject]]:
    """A history's `[kind, {…}]`; what is none is passed over."""
    messages = status.get("messages") if isinstance(status, dict) else None
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict):
            yield message[0], message[1]


def _object(data: bytes) -> JsonObject:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
