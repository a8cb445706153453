"""The templates of the local market, made through Vast's own create-template call.

A template's `onstart` runs as a real local process with the environment that Vast would give it;
the market adds MODEL_PORT, a free port for the model server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from lab.local.model.model_server import DEFAULT_SLOTS
from lab.local.system.environment import DUMMY_VAST_KEY

_COMMON_ENV = {
    "USE_SSL": "false",  # the local market has no certificates for its loopback addresses
    "WORKER_HOST": "127.0.0.1",
    "MODEL_LOG": "model.log",
}
TIMEOUT_S = 10.0
FAST_MODEL = "lab.local.model.model_server --tokens-per-s 8000"  # its benchmark takes a second


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTemplate:
    """A template by its name, with its process and environment."""

    name: str
    onstart: str
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    disk_gb: float = 16.0
    n_gpus: int = 0  # 0: any number

    def to_request(self) -> dict[str, Any]:
        """The body of `POST /api/v0/template/`."""
        variables = {**_COMMON_ENV, **self.env}
        flags = " ".join(f"-e {name}={value}" for name, value in variables.items())
        wanted = {"num_gpus": {"eq": self.n_gpus}} if self.n_gpus else {}
        return {
            "name": self.name,
            "image": "ballast/local",
            "tag": "0.2.0",
            "env": f"-p 3000:3000 {flags}",
            "onstart": self.onstart,
            "runtype": "args",
            "recommended_disk_space": self.disk_gb,
            "extra_filters": {"gpu_ram": {"gte": 16000.0}, **wanted},
        }


def onstart(model_server: str, worker: str) -> str:
    """Start a model server and, in the foreground, the worker that fronts it."""
    return f"""\
export MODEL_SERVER_URL=http://127.0.0.1:$MODEL_PORT
: > "$MODEL_LOG"
python -m {model_server} --port "$MODEL_PORT" --log "$MODEL_LOG" >model-server.log 2>&1 &
exec python -m {worker} >>worker.log 2>&1
"""


TGI_SIMULATED = LocalTemplate(
    name="tgi, simulated model",
    onstart=onstart("lab.local.model.model_server --load-s 1", "workers.tgi.server"),
    env={
        "BACKEND": "tgi",
        "MODEL_ID": "simulated",
        "HF_TOKEN": "none-needed-here",
        "BENCHMARK_ROUNDS": "1",  # a simulated GPU is as fast every time
        "MODEL_SLOTS": str(DEFAULT_SLOTS),
    },
)
TGI_SIMULATED_8B = replace(
    TGI_SIMULATED,
    name="tgi, simulated model of 8 billion parameters",
    onstart=onstart(
        "lab.local.model.model_server --load-s 0.5 --tokens-per-s 1000", "workers.tgi.server"
    ),
    n_gpus=1,
)
COMFYUI_SIMULATED = LocalTemplate(
    name="comfyui, simulated model",
    onstart=onstart("lab.local.system.image_server", "workers.comfyui.server"),
    env={"BACKEND": "comfyui", "COMFY_MODEL": "sd3", "BENCHMARK_ROUNDS": "1"},
    n_gpus=1,
)
OPENAI_SMOLLM2 = LocalTemplate(
    name="openai, real SmolLM2-135M on the CPU",
    onstart=onstart("lab.local.model.llama_server", "workers.openai.server"),
    env={
        "BACKEND": "openai",
        "MODEL_NAME": "smollm2",
        "BENCHMARK_ROUNDS": "1",  # a CPU needs minutes for what a GPU does in seconds
        "BENCHMARK_CONCURRENCY": "2",
        "MODEL_SLOTS": "2",
    },
)
TEMPLATES = (TGI_SIMULATED, TGI_SIMULATED_8B, COMFYUI_SIMULATED, OPENAI_SMOLLM2)


def register_templates(
    market_url: str, templates: Sequence[LocalTemplate] = TEMPLATES
) -> dict[str, str]:
    """Create templates in the market; gives each one's hash by its name."""
    hashes = {}
    for template in templates:
        answer = requests.post(
            f"{market_url}/api/v0/template/",
            json=template.to_request(),
            headers={"Authorization": f"Bearer {DUMMY_VAST_KEY}"},
            timeout=TIMEOUT_S,
        )
        answer.raise_for_status()
        hashes[template.name] = str(answer.json()["template"]["hash_id"])
    return hashes
