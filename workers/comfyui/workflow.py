"""ComfyUI workflows in its API format: the default ones, and what a custom one will cost."""

from __future__ import annotations

from dataclasses import dataclass

from workers.pyworker.back_end import JsonObject

_CHECKPOINTS = {
    # model: (diffusion model, text encoders, VAE, guidance)
    "flux": ("flux1-dev.safetensors", ("clip_l", "t5xxl_fp16"), "ae.safetensors", 1.0),
    "sd3": ("sd3_medium.safetensors", ("clip_l", "t5xxl_fp16"), "sd3_vae.safetensors", 4.5),
}


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image."""

    prompt: str
    width: int
    height: int
    steps: int
    seed: int


def default_workflow(model: str, image: ImageRequest) -> JsonObject:
    """Text to image with the model's own files, as the template's image lays them out.

    Raises:
        KeyError: no such model.
    """
    unet, clips, vae, guidance = _CHECKPOINTS[model]
    return {
        "unet": _node("UNETLoader", unet_name=unet, weight_dtype="default"),
        "clip": _node(
            "DualCLIPLoader",
            clip_name1=f"{clips[0]}.safetensors",
            clip_name2=f"{clips[1]}.safetensors",
            type=model,
        ),
        "vae": _node("VAELoader", vae_name=vae),
        "prompt": _node("CLIPTextEncode", text=image.prompt, clip=["clip", 0]),
        "nothing": _node("CLIPTextEncode", text="", clip=["clip", 0]),
        "latent": _node(
            "EmptySD3LatentImage", width=image.width, height=image.height, batch_size=1
        ),
        "sampler": _node(
            "KSampler",
            model=["unet", 0],
            positive=["prompt", 0],
            negative=["nothing", 0],
            latent_image=["latent", 0],
            seed=image.seed,
            steps=image.steps,
            cfg=guidance,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "decode": _node("VAEDecode", samples=["sampler", 0], vae=["vae", 0]),
        "save": _node("SaveImage", images=["decode", 0], filename_prefix="ballast"),
    }


def size_of(workflow: JsonObject, fields: JsonObject) -> tuple[float, float, float]:
    """(width, height, steps) a custom workflow asks for: the most its nodes or `fields` name."""
    sources = [fields, *(_inputs(node) for node in workflow.values())]
    return (
        _largest(sources, "width", 1024.0),
        _largest(sources, "height", 1024.0),
        _largest(sources, "steps", 28.0),
    )


def _largest(sources: list[JsonObject], name: str, default: float) -> float:
    values = [source.get(name) for source in sources]
    numbers = [float(v) for v in values if isinstance(v, int | float) and 0 < v <= 1e5]
    return max(numbers, default=default)


def _inputs(node: object) -> JsonObject:
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def _node(class_type: str, **inputs: object) -> JsonObject:
    return {"class_type": class_type, "inputs": inputs}
