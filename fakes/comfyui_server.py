"""A ComfyUI in this process: its own API, refusing what the real one refuses.

Answers have the shapes of tests/evidence/models/comfyui-0.3.64.json; `tests/contracts` runs the
same questions against this and, by `make test-models`, against a real one.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

Graph = dict[str, dict[str, object]]
PIXEL = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9c"
    b"c\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)
OUTPUTS = {"SaveImage": "output", "PreviewImage": "temp", "SaveVideo": "output"}
REQUIRED = {"SaveImage": ("images", "filename_prefix"), "PreviewImage": ("images",)}
FILES = {"ckpt_name", "unet_name", "clip_name1", "clip_name2", "vae_name"}
"""Inputs that name a file of a model."""
KEPT = 200


def paint_pixel(_graph: Graph) -> bytes:
    """A picture of one pixel."""
    return PIXEL


@dataclass
class ComfyUIServer:
    """One graph at a time; a graph takes `seconds_of` it, in `n_steps` steps.

    `files`: the model files there are, None for all that are asked for. A node of the class
    `Fails` raises its `message`.
    """

    seconds_of: Callable[[Graph], float] = lambda _graph: 0.0
    paint: Callable[[Graph], bytes] = paint_pixel
    files: set[str] | None = None
    n_steps: int = 3
    is_healthy: bool = True
    history: dict[str, dict[str, object]] = field(default_factory=dict)
    running: str = ""
    pending: list[str] = field(default_factory=list)
    stored: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    interrupt_s: float = 0.0  # the real one looks between two steps
    interrupted: list[str] = field(default_factory=list)
    graphs: list[Graph] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _sockets: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def application(self) -> web.Application:
        """ComfyUI's routes that a PyWorker uses."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_get("/system_stats", self._system_stats)
        app.router.add_get("/queue", self._queue)
        app.router.add_post("/queue", self._delete_pending)
        app.router.add_post("/prompt", self._prompt)
        app.router.add_get("/history/{prompt_id}", self._history)
        app.router.add_post("/history", self._forget)
        app.router.add_get("/view", self._view)
        app.router.add_post("/interrupt", self._interrupt)
        app.router.add_post("/upload/image", self._upload)
        app.router.add_post("/free", self._free)
        app.router.add_get("/ws", self._socket)
        return app

    async def _system_stats(self, _request: web.Request) -> web.Response:
        told = {"system": {"comfyui_version": "0.3.64"}, "devices": []}
        return web.json_response(told, status=200 if self.is_healthy else 503)

    async def _queue(self, _request: web.Request) -> web.Response:
        running = [[0, self.running, {}, {}, []]] if self.running else []
        pending = [[n, prompt_id, {}, {}, []] for n, prompt_id in enumerate(self.pending)]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _delete_pending(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", []):
            if prompt_id in self.pending:
                self._tasks[prompt_id].cancel()
        return web.Response()

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        graph = body.get("prompt")
        if any(
            isinstance(n, dict) and isinstance(n.get("class_type"), list) for n in _nodes(graph)
        ):
            return web.Response(status=500, text="500 Internal Server Error")
        if graph is None:
            return _refusal("no_prompt", "No prompt provided", "No prompt provided")
        problem = self._problem_of(graph)
        if problem:
            return problem
        prompt_id = str(uuid.uuid4())
        self.graphs.append(graph)
        self.pending.append(prompt_id)
        client_id = str(body.get("client_id", ""))
        self._tasks[prompt_id] = asyncio.create_task(self._run(prompt_id, graph, client_id))
        number = len(self.graphs) - 1
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": {}})

    def _problem_of(self, graph: dict[str, object]) -> web.Response | None:
        for name, node in graph.items():
            if not isinstance(node, dict) or "class_type" not in node:
                words = "Cannot execute because a node is missing the class_type property."
                return _refusal("invalid_prompt", words, f"Node ID '#{name}'")
            if node["class_type"] == "NoSuchNode":
                words = f"Cannot execute because node {node['class_type']} does not exist."
                return _refusal("invalid_prompt", words, f"Node ID '#{name}'")
        nodes = {name: node for name, node in graph.items() if isinstance(node, dict)}
        if not any(node["class_type"] in OUTPUTS for node in nodes.values()):
            return _refusal("prompt_no_outputs", "Prompt has no outputs", "")
        errors = {
            name: {"errors": found, "dependent_outputs": [], "class_type": node["class_type"]}
            for name, node in nodes.items()
            if (found := self._errors_of(node))
        }
        if errors:
            words = "Prompt outputs failed validation"
            return _refusal("prompt_outputs_failed_validation", words, "", errors)
        return None

    def _errors_of(self, node: Mapping[str, object]) -> list[dict[str, object]]:
        inputs = node.get("inputs")
        given = inputs if isinstance(inputs, dict) else {}
        missing = [n for n in REQUIRED.get(str(node["class_type"]), ()) if n not in given]
        found = [_error("required_input_missing", "Required input is missing", n) for n in missing]
        for name in FILES & set(given):
            if self.files is not None and given[name] not in self.files:
                details = f"{name}: {given[name]!r} not in {sorted(self.files)}"
                found.append(_error("value_not_in_list", "Value not in list", details))
        return found

    async def _run(self, prompt_id: str, graph: Graph, client_id: str) -> None:
        try:
            async with self._turn:
                self.pending.remove(prompt_id)
                self.running = prompt_id
                await self._execute(prompt_id, graph, client_id)
        except asyncio.CancelledError:
            if self.running == prompt_id:
                told = {"prompt_id": prompt_id, "node_id": "1", "node_type": "KSampler"}
                self._end(prompt_id, {}, "error", [["execution_interrupted", told]])
        finally:
            if prompt_id in self.pending:
                self.pending.remove(prompt_id)
            self.running = "" if self.running == prompt_id else self.running

    async def _execute(self, prompt_id: str, graph: Graph, client_id: str) -> None:
        cached = [name for name, node in graph.items() if json.dumps(node) in self._known]
        begun: list[object] = [["execution_cached", {"nodes": cached, "prompt_id": prompt_id}]]
        for step in range(self.n_steps):
            await asyncio.sleep(self.seconds_of(graph) / self.n_steps)
            if socket := self._sockets.get(client_id):
                data = {"value": step + 1, "max": self.n_steps, "prompt_id": prompt_id, "node": "1"}
                await socket.send_json({"type": "progress", "data": data})
        for name, node in graph.items():
            if node["class_type"] == "Fails":
                inputs = node["inputs"]
                words = str(inputs["message"]) if isinstance(inputs, dict) else ""
                told = {
                    "prompt_id": prompt_id,
                    "node_id": name,
                    "node_type": "Fails",
                    "exception_type": "RuntimeError",
                    "exception_message": f"{words}\n",
                }
                self._end(prompt_id, {}, "error", [*begun, ["execution_error", told]])
                return
        self._known |= {json.dumps(node) for node in graph.values()}
        self._end(prompt_id, self._outputs(graph), "success", begun)

    def _outputs(self, graph: Graph) -> dict[str, object]:
        outputs: dict[str, object] = {}
        for name, node in graph.items():
            kind = OUTPUTS.get(str(node["class_type"]))
            if kind is None:
                continue
            inputs = node.get("inputs")
            prefix = str(inputs.get("filename_prefix", "temp")) if isinstance(inputs, dict) else ""
            folder, _, stem = prefix.rpartition("/")
            suffix = "mp4" if node["class_type"] == "SaveVideo" else "png"
            file = f"{stem}_{len(self.graphs):05}_.{suffix}"
            self.stored[(file, folder, kind)] = self.paint(graph)
            if len(self.stored) > KEPT:
                del self.stored[next(iter(self.stored))]
            outputs[name] = {"images": [{"filename": file, "subfolder": folder, "type": kind}]}
        return outputs

    def _end(
        self, prompt_id: str, outputs: dict[str, object], how: str, messages: list[object]
    ) -> None:
        status = {"status_str": how, "completed": how == "success", "messages": messages}
        self.history[prompt_id] = {"outputs": outputs, "status": status, "meta": {}}

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        row = self.history.get(prompt_id)
        return web.json_response({prompt_id: row} if row else {})

    async def _forget(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", []):
            self.history.pop(prompt_id, None)
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        query = request.query
        if ".." in query["filename"]:
            return web.Response(status=400)
        key = (query["filename"], query.get("subfolder", ""), query.get("type", "output"))
        data = self.stored.get(key)
        if data is None:
            return web.Response(status=404)
        kind = "video/mp4" if query["filename"].endswith(".mp4") else "image/png"
        return web.Response(body=data, content_type=kind)

    async def _interrupt(self, request: web.Request) -> web.Response:
        wanted = (await request.json()).get("prompt_id") if request.can_read_body else None
        if self.running and wanted in (None, self.running):
            self.interrupted.append(self.running)
            stop = self._tasks[self.running].cancel
            asyncio.get_running_loop().call_later(self.interrupt_s, stop)
        return web.Response()

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        if not isinstance(image, web.FileField):
            return web.Response(status=400)
        name, folder = image.filename, str(form.get("subfolder", ""))
        self.stored[(name, folder, "input")] = image.file.read()
        return web.json_response({"name": name, "subfolder": folder, "type": "input"})

    async def _free(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets[request.query.get("clientId", "")] = socket
        status = {"status": {"exec_info": {"queue_remaining": 0}}}
        await socket.send_json({"type": "status", "data": status})
        async for _ in socket:
            pass
        return socket


def _nodes(graph: object) -> list[object]:
    return list(graph.values()) if isinstance(graph, dict) else []


def _error(kind: str, message: str, details: str) -> dict[str, object]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def _refusal(
    kind: str, message: str, details: str, node_errors: Mapping[str, object] | None = None
) -> web.Response:
    body = {"error": _error(kind, message, details), "node_errors": dict(node_errors or {})}
    return web.json_response(body, status=400)
