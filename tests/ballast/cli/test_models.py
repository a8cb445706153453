"""`ballast up`: back end, memory, machines, price; and nothing is made before a yes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ballast.cli.errors import CliError
from ballast.cli.models.choice import IMAGE_MODELS, choose
from ballast.cli.models.hub import ModelFacts, parse_facts
from ballast.templates import load_template
from chalicelib.core.model.endpoint_group import NAME_PATTERN as GROUP_NAME
from fakes.console.server import Console
from tests.ballast.cli.hub import MODELS, serve_hub
from workers.comfyui.workflow import MODELS as GRAPHS
from workers.pyworker.registry import load_back_end
from workers.pyworker.supervision.preflight import check_environment
from workers.pyworker.supervision.supervisor import model_command

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

QWEN, LLAMA, GGUF, _ = MODELS


def facts(name: str) -> ModelFacts:
    return parse_facts(name, MODELS[name]["model"], MODELS[name]["config"] or {})


def test_a_text_model_gets_vllm_with_room_for_weights_and_cache() -> None:
    known = facts(QWEN)
    assert known.kv_bytes_per_token == 56 * 1024  # as the evidence's audit says
    choice = choose(known)
    assert choice.back_end == "vllm"
    assert choice.weights_gb == pytest.approx(15.23, abs=0.01)
    assert choice.memory_gb == pytest.approx(15.23 * 1.2 + 1.88, abs=0.05)
    assert choice.search == "gpu_ram>=21 num_gpus=1"
    assert "MODEL_FLAGS" not in choice.env, (
        "vLLM derives 32,768 itself; a flag could only be too much"
    )
    # The template's own command, with the tool parser of the model's family.
    words = " ".join(model_command(load_back_end("openai"), choice.env))
    assert words.startswith(f"vllm serve {QWEN} --host 127.0.0.1 --port 18000")
    assert "--enable-auto-tool-choice" in words
    assert words.count("--max-model-len") <= 1
    assert choice.disk_gb == 44
    body = choice.template.to_request(choice.env, "0" * 64)
    assert "gpu_ram" not in str(body["extra_filters"])


def test_a_gated_model_tells_its_size_but_not_its_shape() -> None:
    known = facts(LLAMA)
    assert known.is_gated
    choice = choose(known)
    assert choice.kv_gb == pytest.approx(0.25 * 16.06, abs=0.01)
    assert choice.search == "gpu_ram>=24 num_gpus=1"
    assert "a quarter of the weights" in choice.sentence()
    assert "MODEL_FLAGS" not in choice.env, "how many tokens it takes, vLLM reads there"


def test_a_gguf_repository_gets_llama_cpp_and_one_of_its_files() -> None:
    choice = choose(facts(GGUF))
    assert choice.back_end == "llamacpp"
    assert "--hf-file qwen2.5-7b-instruct-q4_k_m.gguf" in choice.env["MODEL_COMMAND"]
    assert choice.search == "gpu_ram>=8 num_gpus=1"
    onstart = str(choice.template.to_request(choice.env, "0" * 64)["onstart"])
    assert onstart.splitlines()[0].startswith("#!")
    assert "python3-venv" in onstart.splitlines()[1]
    assert len(onstart) < 4096
    larger = choose(facts(GGUF), quantisation="q8_0")
    assert larger.weights_gb > choice.weights_gb
    with pytest.raises(CliError, match="no file of Q2_K"):
        choose(facts(GGUF), quantisation="Q2_K")


def test_a_model_too_large_for_one_gpu_gets_several_that_split_its_heads() -> None:
    large = ModelFacts(name="org/large", weights_gb=140.0, n_heads=64, max_tokens=131_072)
    choice = choose(large)
    assert choice.n_gpus == 4
    assert choice.search == "gpu_ram>=51 num_gpus=4"
    assert choice.env["MODEL_FLAGS"] == "--max-model-len 32768 --tensor-parallel-size 4"
    with pytest.raises(CliError, match="more than 8 GPUs"):
        choose(ModelFacts(name="org/huge", weights_gb=900.0, n_heads=64))


@pytest.mark.parametrize(
    ("name", "back_end", "guessed"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0", "comfyui", "sdxl"),
        ("stabilityai/stable-diffusion-3.5-medium", "comfyui", "sd3.5"),
        ("stabilityai/stable-diffusion-3-medium", "comfyui", "sd3"),
        ("black-forest-labs/FLUX.1-dev", "comfyui", "flux"),
        ("org/Model-7B-GGUF", "llamacpp", ""),
        ("org/Model-7B", "vllm", ""),
    ],
)
def test_where_nobody_is_asked_the_name_tells_the_back_end_and_that_is_said(
    name: str, back_end: str, guessed: str
) -> None:
    choice = choose(ModelFacts(name=name), memory_gb=24.0)
    assert (choice.back_end, choice.env.get("COMFY_MODEL", "")) == (back_end, guessed)
    assert "by its name alone; else --back-end" in choice.sentence()
    named = choose(ModelFacts(name=name), memory_gb=24.0, back_end=back_end)
    assert "by its name" not in named.sentence()


def test_image_models_are_those_that_the_worker_has_graphs_for() -> None:
    assert sorted(IMAGE_MODELS.values()) == sorted(load_template("comfyui").models)
    published = {file.repository.lower() for model in GRAPHS.values() for file in model.files}
    for begin in ("black-forest-labs/flux.1-dev", "stabilityai/stable-diffusion-xl-base"):
        assert any(one.startswith(begin) for one in published)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (ModelFacts(name="org/sound", task="text-to-speech", weights_gb=1.0), "back ends"),
        (ModelFacts(name="org/film", task="text-to-video", weights_gb=1.0), "back ends"),
        (ModelFacts(name="org/judge", task="text-classification", weights_gb=1.0), "back ends"),
        (ModelFacts(name="org/lora", is_adapter=True, base="org/big"), "its base model, org/big,"),
        (
            ModelFacts(name="org/ear", task="automatic-speech-recognition", weights_gb=1),
            "back ends",
        ),
        (ModelFacts(name="org/dark"), "nobody says how large"),
        (ModelFacts(name="org/paint", task="text-to-image"), "does not know org/paint"),
    ],
)
def test_what_nothing_here_serves_is_told_with_the_way_out(known: ModelFacts, words: str) -> None:
    with pytest.raises(CliError, match=words) as caught:
        choose(known)
    assert caught.value.fix


@pytest.mark.parametrize("task", ["text-generation", "image-text-to-text", "any-to-any", ""])
def test_what_writes_gets_vllm(task: str) -> None:
    assert choose(ModelFacts(name="org/any", task=task, weights_gb=1.0)).back_end == "vllm"


def test_what_embeds_is_measured_by_its_own_route_and_not_asked_for_a_text() -> None:
    choice = choose(ModelFacts(name="org/vectors", task="feature-extraction", weights_gb=1.0))
    assert (choice.back_end, choice.embeds) == ("vllm", True)
    told = check_environment({**choice.env, "BACKEND": "openai", "MODEL_LOG": "x"})
    assert told.name == "openai"


SHARDS = [{"rfilename": f"model-0000{n}-of-00002.safetensors", "size": 5e9} for n in (1, 2)]


@pytest.mark.parametrize(
    ("row", "config", "weights_gb"),
    [
        # Mistral's repositories hold the same weights twice.
        ({"siblings": [*SHARDS, {"rfilename": "consolidated.safetensors", "size": 1e10}]}, {}, 10),
        # AWQ, GPTQ: eight 4-bit values in an I32, counted packed or unpacked.
        ({"safetensors": {"parameters": {"I32": 1e9, "F16": 1e9}}, "siblings": SHARDS}, {}, 6),
        ({"safetensors": {"parameters": {"I32": 8e9, "F16": 1e9}}, "siblings": SHARDS}, {}, 10),
        ({"safetensors": {"parameters": {"F8_E4M3": 7e9, "BF16": 1e9}}}, {}, 9),
        ({"siblings": [{"rfilename": "pytorch_model.bin", "size": 3e9}]}, {}, 3),
        # What no Hub should answer is not known, and ends nothing.
        ({"siblings": None, "safetensors": [], "cardData": "x", "gguf": 1}, {}, 0),
        ({"siblings": ["x", {}, {"rfilename": "a.bin", "size": "big"}]}, {"text_config": "x"}, 0),
        (
            {"safetensors": {"parameters": {"BF16": math.nan}}},
            {"num_attention_heads": math.inf, "hidden_size": "8", "num_hidden_layers": -3},
            0,
        ),
    ],
)
def test_weights_are_counted_once_and_strange_answers_are_unknown(
    row: dict[str, Any], config: dict[str, Any], weights_gb: float
) -> None:
    known = parse_facts("org/any", row, config)
    assert known.weights_gb == pytest.approx(weights_gb)
    assert known.kv_bytes_per_token == 0


def test_an_adapter_is_known_by_its_files_and_a_merged_model_is_none() -> None:
    adapter = [{"rfilename": "adapter_config.json"}, {"rfilename": "adapter_model.safetensors"}]
    told = parse_facts("org/lora", {"siblings": adapter, "cardData": {"base_model": ["a/b"]}}, {})
    assert (told.is_adapter, told.base) == (True, "a/b")
    beside = [*adapter, {"rfilename": "config.json"}]
    assert parse_facts("org/m", {"siblings": beside}, {}).is_adapter, (
        "a base's own weights are none"
    )
    merged = parse_facts("org/m", {"siblings": [*beside, {"rfilename": "model.safetensors"}]}, {})
    assert not merged.is_adapter


def test_a_file_of_many_words_stays_one_word() -> None:
    odd = ModelFacts(name="org/x", files={"a 'b' $(x) Q4_K_M.gguf": 4.0})
    command = choose(odd).env["MODEL_COMMAND"]
    assert "a 'b' $(x) Q4_K_M.gguf" in shlex.split(command)


@pytest.mark.parametrize(
    "name",
    [
        "./model", "/models/llama", "../../etc/passwd", "org", "org/", "/name", "org/a/b", "o/a b",
        "org/modèle", "org/a;reboot", "org/$(x)", "org/a@main", "https://huggingface.co/org",
        "C:\\models\\llama", "-x/y", "org/name\n", "x" * 300, "", "DEADBEEF" * 4,
    ],
)  # fmt: skip
def test_what_is_no_models_name_is_said_before_anybody_is_asked(
    ballast: Ballast, console: Console, name: str
) -> None:
    refused = ballast("up", "--dry-run", "--memory-gb", "20", "--", name)
    assert refused.code == 2
    assert "neither a model's name nor a template's hash" in refused.err
    assert console.calls == []


@pytest.mark.parametrize("gb", ["0", "-1", "nan", "inf", "1e9", "x"])
def test_memory_that_cannot_be_is_refused(ballast: Ballast, gb: str) -> None:
    assert ballast("up", "org/any", "--memory-gb", gb, "--dry-run").code == 2


@pytest.mark.parametrize("name", ["org/" + "n" * 128, "org/UPPER.Case_7B", "o/m-" + "-" * 90 + "x"])
def test_a_long_or_loud_name_makes_a_group_that_can_be_named(
    ballast: Ballast, console: Console, name: str
) -> None:
    assert ballast("up", name, "--memory-gb", "20", "--dry-run").code == 0
    [asked] = console.sent("POST", "/api/v0/preview")
    assert GROUP_NAME.fullmatch(asked["endpoint"]["endpoint_name"])


def test_memory_given_by_hand_asks_nobody() -> None:
    choice = choose(ModelFacts(name="org/any"), memory_gb=30.0)
    assert (choice.search, choice.memory_gb) == ("gpu_ram>=30 num_gpus=1", 30.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serve_hub() as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield


def test_up_shows_why_and_how_much_and_makes_nothing_without_a_yes(
    ballast: Ballast, console: Console, hub: None
) -> None:
    words = ("up", QWEN, "--max-usd-per-hour", "1")
    result = ballast(*words)
    assert result.code == 6
    assert "15.2 GB of weights x 1.2 + 1.9 GB of KV cache" in result.err
    assert "Create endpoint group 'Qwen2.5-7B-Instruct', and rent as shown?" in result.err
    assert {call.path for call in console.calls if call.method != "GET"} == {"/api/v0/preview"}
    [asked] = console.sent("POST", "/api/v0/preview")
    assert asked["endpoint"]["max_usd_per_hour"] == 1
    assert asked["autogroup"]["launch_args"] == "--image vllm/vllm-openai:v0.32.0 --disk 44"
    assert asked["autogroup"]["search_params"] == "gpu_ram>=21 num_gpus=1"
    assert ballast(*words, "--dry-run").code == 0


def test_up_tells_a_gated_model_and_an_unknown_one(
    ballast: Ballast, console: Console, hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    gated = ballast("up", LLAMA, "--yes")
    assert (gated.code, console.calls[1:]) == (1, []), (
        "no machine is paid for that can fetch nothing"
    )
    assert "is gated: without a token no machine can fetch it" in gated.err
    assert f"accept its terms at https://huggingface.co/{LLAMA}, then set HF_TOKEN" in gated.err
    monkeypatch.setenv("HF_TOKEN", "hf_a-token-that-did-not-accept")
    assert f"{LLAMA} may not be read with this HF_TOKEN" in ballast("up", LLAMA, "--yes").err
    monkeypatch.delenv("HF_TOKEN")
    unknown = ballast("up", "org/nothing-of-that-name")
    assert unknown.code == 1
    assert "knows no model 'org/nothing-of-that-name'" in unknown.err
    assert ballast("up", "nothing").code == 2


def test_up_without_a_network_says_how_to_go_on(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused = ballast("up", QWEN)
    assert refused.code == 3
    assert "--memory-gb 24" in refused.err
    assert ballast("up", QWEN, "--memory-gb", "24", "--dry-run").code == 0


@pytest.mark.parametrize("words", [("--quantisation", "best"), ("--quantisation", "Q4_K_M;ls"),
                                   ("--quantisation", "Q4_K_M", "--back-end", "vllm")])  # fmt: skip
def test_a_quantisation_that_is_none_is_refused_also_where_nobody_is_asked(
    ballast: Ballast, console: Console, words: tuple[str, ...]
) -> None:
    refused = ballast("up", "org/any", "--memory-gb", "20", "--dry-run", *words)
    assert refused.code == 2
    assert "--quantisation" in refused.err or "no quantisation of GGUF" in refused.err
    assert not console.sent("POST", "/api/v0/preview")
    for known in (
        "Q4_K_M",
        "iq4_xs",
        "UD-Q4_K_XL",
        "Q8_0",
        "BF16",
        "MXFP4_MOE",
        "IQ2_XXS",
        "TQ1_0",
    ):
        assert choose(ModelFacts(name="o/m"), memory_gb=9.0, quantisation=known).env


FROZEN: dict[str, Any] = {
    "actions": [], "notes": [{"code": "frozen", "sentence": "Frozen by the owner."}],
}  # fmt: skip
REFUSED: dict[str, Any] = {
    "action": "rent", "cap": "cap_hour", "cap_name": "the account's dollars per hour",
    "worst_usd_per_hour": 0.4, "offer": {"gpu_type": "1x RTX 4090", "machine_id": 5},
}  # fmt: skip
CAPPED: dict[str, Any] = {"actions": [], "refused": [REFUSED]}


@pytest.mark.parametrize(("plan", "why"), [(FROZEN, "Frozen by the owner"), (CAPPED, "$0.400")])
def test_up_says_before_it_is_asked_that_nothing_would_come(
    ballast: Ballast, console: Console, plan: Any, why: str
) -> None:
    console.answers["/api/v0/preview"] = {"plan": plan}
    asked = ballast("up", "org/any", "--memory-gb", "20")
    assert (asked.code, why in asked.err) == (6, True)
    assert "Nothing would be rented now" in asked.err


def test_up_does_not_take_a_name_that_is_taken_and_down_ends_a_group(
    ballast: Ballast, console: Console
) -> None:
    taken = ballast("up", QWEN, "--memory-gb", "24", "--name", "TGI-Llama3")
    assert taken.code == 1
    assert "ballast down TGI-Llama3" in taken.err
    assert ballast("down", "TGI-Llama3", "--no-wait").code == 6
    assert ballast("down", "TGI-Llama3", "--no-wait", "--yes").code == 0
    assert 7 not in console.endpoints
    again = ballast("down", "TGI-Llama3", "--no-wait", "--yes")
    assert again.code == 1
    assert "there is no endpoint 'TGI-Llama3'" in again.err
