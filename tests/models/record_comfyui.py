"""`python -m tests.models.record_comfyui --python VENV/bin/python --checkout ComfyUI`: its answers.

Starts ComfyUI on the CPU without any model file and asks what callers ask. Ends what it started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import aiohttp
import requests

from tests.models.recording import Recording
from tests.models.servers import ComfyServer, free_port
from workers.comfyui.workflow import ImageRequest, default_workflow

Graph = dict[str, object]

PRICED_KINDS = (
    *("EmptyHunyuanLatentVideo", "EmptyLatentImage", "ImageScaleBy", "KSampler"),
    *("KSamplerAdvanced", "LatentCut", "LatentUpscaleBy", "LoadImage", "LoadImageMask"),
    *("PrimitiveInt", "RepeatImageBatch", "RepeatLatentBatch", "SVD_img2vid_Conditioning"),
    *("VAEEncode", "VAEEncodeForInpaint"),
)
"""Kinds of nodes whose numbers the cost rule reads, or must not."""


def node(class_type: str, **inputs: object) -> Graph:
    """One node of a graph in API format."""
    return {"class_type": class_type, "inputs": inputs}


def picture(batch: int = 1, **save: object) -> Graph:
    """A plain picture, saved; no model file is needed."""
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=batch, color=255),
        "2": node("SaveImage", images=["1", 0], filename_prefix="rec", **save),
    }


def slow(steps: int, seed: int) -> Graph:
    """A picture that takes a twentieth of a second a step."""
    graph = picture()
    graph["3"] = node("BallastSlow", image=["1", 0], steps=steps, step_s=0.05, seed=seed)
    graph["2"] = node("SaveImage", images=["3", 0], filename_prefix="rec")
    return graph


def submit(it: Recording, url: str, name: str, graph: object, **more: object) -> str:
    """POST a graph and keep the answer; the prompt's id."""
    answer = it.ask(f"prompt_{name}", "POST", url + "/prompt", {"prompt": graph, **more})
    return str(answer.json().get("prompt_id", "")) if answer.status_code == 200 else ""


def wait(url: str, prompt_id: str) -> None:
    """Until the history has it."""
    while not requests.get(f"{url}/history/{prompt_id}", timeout=10).json():
        time.sleep(0.05)


def done(it: Recording, url: str, name: str, graph: Graph) -> None:
    """Submit, wait, and keep the history's row."""
    prompt_id = submit(it, url, name, graph)
    wait(url, prompt_id)
    it.ask(f"history_{name}", "GET", f"{url}/history/{prompt_id}")


def record(it: Recording, url: str) -> None:
    """What it says to good and bad graphs."""
    for name in ("system_stats", "queue", "prompt", "models", "models/checkpoints"):
        it.ask(name.replace("/", "_"), "GET", f"{url}/{name}")
    done(it, url, "one", picture())
    done(it, url, "again", picture())  # the same graph: everything is cached
    done(it, url, "batch", picture(batch=3))
    preview = {**picture(), "2": node("PreviewImage", images=["1", 0])}
    done(it, url, "preview", preview)
    animated = node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="a", fps=6.0,
                    lossless=True, quality=80, method="default")  # fmt: skip
    done(it, url, "animated", {**picture(batch=2), "2": animated})
    video = {
        **picture(batch=4),
        "4": node("CreateVideo", images=["1", 0], fps=4.0),
        "2": node("SaveVideo", video=["4", 0], filename_prefix="v", format="auto", codec="auto"),
    }
    done(it, url, "video", video)
    done(it, url, "text_numbers", {**picture(), "1": node(
        "EmptyImage", width="64", height="64", batch_size="1", color="0")})  # fmt: skip
    failing = {**picture(), "3": node("BallastFails", image=["1", 0], message="CUDA out of memory")}
    failing["2"] = node("SaveImage", images=["3", 0], filename_prefix="rec")
    done(it, url, "execution_error", failing)
    bad: dict[str, object] = {
        "missing_file": default_workflow("flux", ImageRequest("a cat", 64, 64, 1, 1)),
        "unknown_node": {"1": node("NoSuchNode")},
        "odd_class": {"1": {"class_type": ["x"], "inputs": {}}},
        "no_outputs": {"1": node("EmptyImage", width=64, height=64, batch_size=1, color=0)},
        "empty": {},
        "bad_value": {**picture(), "1": node(
            "EmptyImage", width=-5, height=64, batch_size=1, color=0)},
        "missing_input": {"2": node("SaveImage", filename_prefix="rec")},
        "bad_link": {"2": node("SaveImage", images=["9", 0], filename_prefix="rec")},
        "outside": picture() | {"2": node("SaveImage", images=["1", 0], filename_prefix="../../x")},
    }  # fmt: skip
    for name, graph in bad.items():
        prompt_id = submit(it, url, name, graph)
        if prompt_id:
            wait(url, prompt_id)
            it.ask(f"history_{name}", "GET", f"{url}/history/{prompt_id}")
    it.ask("prompt_ui_format", "POST", url + "/prompt", {"prompt": {"nodes": [], "links": []}})
    it.ask("prompt_no_prompt", "POST", url + "/prompt", {"nodes": [], "links": []})


def record_interrupts(it: Recording, url: str) -> None:
    """A running prompt, one that waits, and what interrupting and deleting say."""
    running = submit(it, url, "running", slow(100, 1))
    waiting = submit(it, url, "waiting", slow(100, 2))
    time.sleep(0.5)
    it.ask("queue_busy", "GET", url + "/queue")
    it.ask("history_not_yet", "GET", f"{url}/history/{running}")
    it.ask("delete_waiting", "POST", url + "/queue", {"delete": [waiting]})
    it.ask("interrupt_other", "POST", url + "/interrupt", {"prompt_id": "no-such-id"})
    it.ask("interrupt", "POST", url + "/interrupt", {"prompt_id": running})
    wait(url, running)
    it.ask("history_interrupted", "GET", f"{url}/history/{running}")
    it.ask("history_delete", "POST", url + "/history", {"delete": [running]})
    it.ask("free", "POST", url + "/free", {"unload_models": False, "free_memory": False})


def record_view(it: Recording, url: str) -> None:
    """Fetching outputs, and what is refused."""
    for name, query in {
        "view": "filename=rec_00001_.png&type=output&subfolder=",
        "view_absent": "filename=no.png&type=output",
        "view_outside": "filename=../../etc/passwd&type=output",
    }.items():
        it.ask(name, "GET", f"{url}/view?{query}")
    picture_url = f"{url}/view?filename=rec_00001_.png&type=output"
    files = {"image": ("in.png", requests.get(picture_url, timeout=10).content, "image/png")}
    form = {"overwrite": "true"}
    answer = requests.post(url + "/upload/image", files=files, data=form, timeout=10)
    it.keep("upload", "POST /upload/image", None, answer.status_code, dict(answer.headers), answer)


def inputs_of_kinds(url: str) -> dict[str, list[str]]:
    """What the inputs of PRICED_KINDS are called."""
    kinds = requests.get(f"{url}/object_info", timeout=60).json()
    return {
        kind: [
            name for part in ("required", "optional") for name in kinds[kind]["input"].get(part, ())
        ]
        for kind in PRICED_KINDS
    }


async def record_events(it: Recording, url: str) -> None:
    """The websocket's words while a prompt runs."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws?clientId=rec") as socket:
        graph = slow(3, 7)
        async with http.post(url + "/prompt", json={"prompt": graph, "client_id": "rec"}) as answer:
            prompt_id = (await answer.json())["prompt_id"]
        events: list[object] = []
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                events.append(f"({len(message.data)} bytes)")
                continue
            event = json.loads(message.data)
            if event.get("type") != "crystools.monitor":
                events.append(event)
            data = event.get("data") or {}
            if event.get("type") == "execution_success" and data.get("prompt_id") == prompt_id:
                break
        it.keep("events", "GET /ws?clientId=rec", None, 101, {}, json.dumps(events))


def main() -> None:
    """Record everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--checkout", type=Path, required=True)
    arguments = parser.parse_args()
    python, checkout = arguments.python.absolute(), arguments.checkout.absolute()
    with tempfile.TemporaryDirectory() as name:
        server = ComfyServer(python, checkout, Path(name), free_port())
        with server.running():
            stats = requests.get(server.url + "/system_stats", timeout=10).json()
            it = Recording(
                "comfyui",
                stats["system"]["comfyui_version"],
                server.command_text(),
                (Path(name), checkout, python.parents[1]),
            )
            inputs = json.dumps(inputs_of_kinds(server.url))
            it.keep("inputs", "GET /object_info", None, 200, {}, inputs)
            record(it, server.url)
            record_view(it, server.url)
            record_interrupts(it, server.url)
            asyncio.run(record_events(it, server.url))
            lines = server.log_lines()
            it.keep_log("start", [x for x in lines if "Starting server" in x or "GUI" in x])
            it.keep_log("client_text", [x for x in lines if "not in list" in x][:3])
        print(it.write())


if __name__ == "__main__":
    main()
