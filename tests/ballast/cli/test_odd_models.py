"""`ballast up` with odd models: each gets a right answer, or an error that names the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.models.choice import Choice, choose
from ballast.cli.models.hub import ModelFacts, model_name, parse_facts
from ballast.cli.terminal.progress import question_for


def siblings(*files: str | tuple[str, float]) -> Sequence[dict[str, object]]:
    """A repository's files as the Hub lists them; sizes in GB."""
    named = [(one, 0.1) if isinstance(one, str) else one for one in files]
    return [{"rfilename": name, "size": gb * 1e9} for name, gb in named]


def picked(
    name: str,
    tag: str | None,
    *files: str | tuple[str, float],
    config: dict[str, object] | None = None,
    more: dict[str, object] | None = None,
    **options: Any,
) -> Choice:
    row: dict[str, Any] = {"id": name, "pipeline_tag": tag, "siblings": siblings(*files)}
    return choose(parse_facts(name, {**row, **(more or {})}, config or {}), **options)


PLAIN = ("config.json", ("model.safetensors", 14.0))
PARTS = [(f"Q4_K_M/m-Q4_K_M-0000{n}-of-00002.gguf", 20.0) for n in (1, 2)]


@pytest.mark.parametrize(
    ("model", "file", "weights_gb"),
    [
        # In parts, in a folder of its own: the first part is named, all are loaded.
        (
            picked("o/Big-GGUF", "text-generation", *PARTS, ("BF16/m-BF16.gguf", 70.0)),
            PARTS[0][0],
            40,
        ),
        # What sees, and what it was quantised with, lie beside and are no model.
        (
            picked("o/V-GGUF", "image-text-to-text", "mmproj-F16.gguf", ("m-F16.gguf", 8.0)),
            "m-F16.gguf",
            8,
        ),
        (
            picked("o/I-GGUF", None, ("imatrix.gguf", 0.1), ("m-IQ4_XS.gguf", 4.0)),
            "m-IQ4_XS.gguf",
            4,
        ),
        # None of the usual ones: the least of them, parts counted together.
        (picked("o/T-GGUF", None, ("m-IQ2_M.gguf", 3.0), ("m-IQ1_S.gguf", 2.0)), "m-IQ1_S.gguf", 2),
        # A name within a name is another quantisation.
        (
            picked(
                "o/B-GGUF", None, ("m-BF16.gguf", 16.0), ("m-F16.gguf", 15.0), quantisation="f16"
            ),
            "m-F16.gguf",
            15,
        ),
        # Where both forms are, a quantisation means the .gguf file.
        (
            picked("o/Both", "text-generation", *PLAIN, ("m-Q8_0.gguf", 7.0), quantisation="Q8_0"),
            "m-Q8_0.gguf",
            7,
        ),
    ],
)
def test_of_a_gguf_repository_one_model_is_taken_whole(
    model: Choice, file: str, weights_gb: float
) -> None:
    assert (model.back_end, model.file) == ("llamacpp", file)
    assert f"--hf-file {file} " in model.env["MODEL_COMMAND"]
    assert model.weights_gb == pytest.approx(weights_gb)
    assert file in model.sentence()


@pytest.mark.parametrize(
    ("name", "tag", "files", "config", "more", "told", "fix"),
    [
        ("city96/FLUX.1-dev-gguf", "text-to-image", ("flux1-dev-Q8_0.gguf",), {}, {},
         "the ComfyUI template does not know", "a template of your own"),
        ("Qwen/Qwen3-Reranker-4B", "text-ranking", PLAIN, {}, {}, "is for text-ranking", "take a"),
        ("o/bge-reranker-GGUF", None, ("m-Q8_0.gguf",), {}, {"gguf": {"architecture": "bert"}},
         "is for text-ranking", "take a model"),
        ("mlx-community/Qwen3-8B-4bit", "text-generation", PLAIN, {},
         {"library_name": "mlx", "cardData": {"base_model": "Qwen/Qwen3-8B"}},
         "Apple's MLX", "it was made of Qwen/Qwen3-8B"),
        ("o/Some-4bit", "text-generation", PLAIN,
         {"quantization": {"group_size": 64, "bits": 4}}, {},
         "Apple's MLX", "take the model that it was made of"),
        ("unsloth/x-bnb-4bit", "text-generation", PLAIN,
         {"quantization_config": {"quant_method": "bitsandbytes"}},
         {"cardData": {"base_model": ["a/b"]}},
         "quantised with bitsandbytes", "AWQ, GPTQ, FP8 or GGUF; it was made of a/b"),
        ("o/x-exl2", "text-generation", PLAIN,
         {"quantization_config": {"quant_method": "exl2"}}, {},
         "quantised with exl2", "AWQ"),
        ("onnx-community/x", "text-generation", ("config.json", "onnx/model.onnx"), {}, {},
         "no weights that a back end here loads", "a variant of it"),
        ("o/old", "text-generation", ("config.json", "model.pth"), {}, {}, "no weights", "variant"),
        ("o/bare", "text-generation", (("model.safetensors", 14.0),), {}, {},
         "has no config.json", "a variant of it that has one"),
        ("OpenReasonAI/Graphite1.0-4B", None,
         ("adapter_config.json", "adapter_model.safetensors"), {}, {"library_name": "peft"},
         "is an adapter", "merge it into its base"),
        ("o/whisper", "automatic-speech-recognition", PLAIN, {}, {}, "is for automatic", "take a"),
        ("o/sdxl-tune", None, ("model_index.json", "unet/x.safetensors"), {},
         {"library_name": "diffusers"}, "the ComfyUI template does not know", "docs/templates.md"),
        ("o/huge", "text-generation", ("config.json", ("model.safetensors", 700.0)), {}, {},
         "more than 8 GPUs of 80 GB hold", "a quantised or a smaller variant"),
        ("o/odd-heads", "text-generation", ("config.json", ("model.safetensors", 100.0)),
         {"num_attention_heads": 71, "num_hidden_layers": 1, "hidden_size": 4544}, {},
         "71 heads cannot be split over 2 or 4 or 8 GPUs", "quantised"),
    ],
)  # fmt: skip
def test_what_would_be_paid_for_and_never_be_ready_is_refused_with_the_fix(
    name: str,
    tag: str | None,
    files: Sequence[str | tuple[str, float]],
    config: dict[str, object],
    more: dict[str, object],
    told: str,
    fix: str,
) -> None:
    with pytest.raises(CliError) as refused:
        picked(name, tag, *files, config=config, more=more)
    assert told in str(refused.value)
    assert fix in refused.value.fix
    assert refused.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("files", "options", "told"),
    [
        (PLAIN, {"back_end": "llamacpp"}, "has no .gguf file"),
        (PLAIN, {"quantisation": "Q4_K_M"}, "vllm loads it as it is"),
        (("m-Q8_0.gguf",), {"back_end": "vllm"}, "which vllm does not load"),
        (("m-Q8_0.gguf",), {"back_end": "tgi"}, "which tgi does not load"),
    ],
)
def test_an_option_that_the_model_has_nothing_for_is_refused(
    files: Sequence[str], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(CliError, match=told) as refused:
        picked("o/x", "text-generation", *files, **options)
    assert refused.value.fix


def test_tgi_gets_its_own_template_and_its_own_variable() -> None:
    model = picked("o/x", "text-generation", *PLAIN, back_end="tgi")
    assert (model.back_end, model.template.name) == ("tgi", "Ballast TGI")
    assert model.env == {"MODEL_ID": "o/x"}


@pytest.mark.parametrize(
    "packing", ["awq", "gptq", "fp8", "compressed_tensors", "mxfp4", "torchao"]
)
def test_what_vllm_loads_quantised_is_taken_at_its_size(packing: str) -> None:
    config: dict[str, object] = {
        "quantization_config": {"quant_method": packing},
        "num_experts": 128,
    }
    model = picked(
        "o/MoE-AWQ", "text-generation", "config.json", ("m.safetensors", 17.0), config=config
    )
    assert model.back_end == "vllm"
    assert model.weights_gb == pytest.approx(17.0)


def test_mistrals_own_form_is_a_configuration_too() -> None:
    files = ("params.json", ("consolidated.safetensors", 25.0))
    assert picked("mistralai/Pixtral-12B-2409", "image-text-to-text", *files).back_end == "vllm"


@pytest.mark.parametrize(
    ("positions", "kv_tokens"), [(514, 32_768), (8_194, 32_768), (131_072, 131_072)]
)
def test_how_long_a_text_may_be_that_is_embedded_vllm_reads_itself(
    positions: int, kv_tokens: int
) -> None:
    """bge-m3 has 8,194 positions and takes 8,192 tokens: told 8,194, vLLM ends before it loads."""
    config: dict[str, object] = {
        "max_position_embeddings": positions, "num_hidden_layers": 24, "num_attention_heads": 16,
        "hidden_size": 1024,
    }  # fmt: skip
    model = picked("BAAI/bge-m3", "sentence-similarity", *PLAIN, config=config)
    assert model.embeds
    assert model.env["MODEL_FLAGS"] == "--runner pooling"
    assert model.env["BENCHMARK_ROUTE"] == "/v1/embeddings"
    assert model.kv_tokens == kv_tokens


@pytest.mark.parametrize("tag", ["sentence-similarity", None])
def test_a_gguf_that_embeds_is_served_and_measured_as_one(tag: str | None) -> None:
    bert: dict[str, object] = {"gguf": {"architecture": "nomic-bert", "context_length": 2048}}
    model = picked("nomic-ai/nomic-embed-text-v1.5-GGUF", tag, ("m.Q8_0.gguf", 0.15), more=bert)
    assert (model.back_end, model.embeds) == ("llamacpp", True)
    assert model.env["MODEL_COMMAND"].endswith("--ctx-size 2048 --embeddings")
    assert model.env["BENCHMARK_ROUTE"] == "/v1/embeddings"


def test_what_embeds_is_asked_for_a_vector() -> None:
    asked = question_for("embeddings", "BAAI/bge-m3")
    assert asked is not None
    assert (asked.path, asked.is_streamed) == ("/v1/embeddings", False)
    assert asked.payload["model"] == "BAAI/bge-m3"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("https://huggingface.co/Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        (
            "https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/tree/main?x=1",
            "Qwen/Qwen2.5-7B-Instruct",
        ),
        ("http://HF.co/o/n/", "o/n"),
        ("https://www.huggingface.co/o/n#files", "o/n"),
        ("https://huggingface.co/datasets/o/n", ""),
        ("https://huggingface.co/spaces/o/n", ""),
        ("https://huggingface.co/o", ""),
        ("https://huggingface.co.evil.example/o/n", ""),
        ("https://ollama.com/library/qwen", ""),
        ("hf.co/o/n:Q4_K_M", ""),
        ("gpt2", ""),
    ],
)
def test_a_page_of_a_model_names_it_and_another_page_does_not(written: str, name: str) -> None:
    assert model_name(written) == name


def test_offline_a_quantisation_is_llama_cpps_to_find() -> None:
    model = choose(ModelFacts(name="o/x"), memory_gb=12.0, quantisation="Q5_K_M")
    assert model.back_end == "llamacpp"
    assert "--hf-repo o/x:Q5_K_M " in model.env["MODEL_COMMAND"]
