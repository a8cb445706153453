"""ComfyUI's graphs in API format: the default ones, and what a caller's one is made ready with."""

from __future__ import annotations

import copy
from dataclasses import dataclass

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model: where it is published, and the folder that ComfyUI looks in."""

    repository: str  # at Hugging Face
    path: str
    folder: str

    @property
    def name(self) -> str:
        """As graphs name it."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Model:
    """One value of COMFY_MODEL.

    `files`: one checkpoint, or a diffusion model, its two text encoders and its VAE.
    """

    files: tuple[ModelFile, ...]
    guidance: float
    clip_type: str = ""  # of two text encoders of their own


def _checkpoint(repository: str, path: str, guidance: float) -> Model:
    return Model((ModelFile(repository, path, "checkpoints"),), guidance)


_ENCODERS = "comfyanonymous/flux_text_encoders"
_FLUX = "black-forest-labs/FLUX.1-dev"
MODELS = {
    # As published: tests/evidence/models/published.json
    "flux": Model(
        (
            ModelFile(_FLUX, "flux1-dev.safetensors", "diffusion_models"),
            ModelFile(_ENCODERS, "clip_l.safetensors", "text_encoders"),
            ModelFile(_ENCODERS, "t5xxl_fp16.safetensors", "text_encoders"),
            ModelFile(_FLUX, "ae.safetensors", "vae"),
        ),
        1.0,
        "flux",
    ),
    "sd3": _checkpoint(
        "stabilityai/stable-diffusion-3-medium",
        "sd3_medium_incl_clips_t5xxlfp16.safetensors",
        4.5,
    ),
    "sd3.5": _checkpoint(
        "Comfy-Org/stable-diffusion-3.5-fp8",
        "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
        4.0,
    ),
    "sdxl": _checkpoint(
        "stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors", 7.0
    ),
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
    """Text to image with the model's own files.

    Raises:
        KeyError: no such model.
    """
    chosen = MODELS[model]
    if len(chosen.files) == 1:
        loaders = {"model": _node("CheckpointLoaderSimple", ckpt_name=chosen.files[0].name)}
        unet, clip, vae = ["model", 0], ["model", 1], ["model", 2]
    else:
        diffusion, clip_1, clip_2, decoder = (file.name for file in chosen.files)
        loaders = {
            "unet": _node("UNETLoader", unet_name=diffusion, weight_dtype="default"),
            "clip": _node(
                "DualCLIPLoader", clip_name1=clip_1, clip_name2=clip_2, type=chosen.clip_type
            ),
            "vae": _node("VAELoader", vae_name=decoder),
        }
        unet, clip, vae = ["unet", 0], ["clip", 0], ["vae", 0]
    empty = "EmptyLatentImage" if model == "sdxl" else "EmptySD3LatentImage"
    return {
        **loaders,
        "prompt": _node("CLIPTextEncode", text=image.prompt, clip=clip),
        "nothing": _node("CLIPTextEncode", text="", clip=clip),
        "latent": _node(empty, width=image.width, height=image.height, batch_size=1),
        "sampler": _node(
            "KSampler",
            model=unet,
            positive=["prompt", 0],
            negative=["nothing", 0],
            latent_image=["latent", 0],
            seed=image.seed,
            steps=image.steps,
            cfg=chosen.guidance,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "decode": _node("VAEDecode", samples=["sampler", 0], vae=vae),
        "save": _node("SaveImage", images=["decode", 0], filename_prefix="ballast"),
    }


def made_ready(graph: JsonObject, folder: str, uploads: dict[str, str]) -> JsonObject:
    """A caller's graph with outputs in a folder of their own and uploaded files by their new names.

    Another prefix makes ComfyUI write the outputs anew, also where it still has what they show.
    """
    ready = copy.deepcopy(graph)
    for node in ready.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(inputs, dict):
            continue
        for name, value in inputs.items():
            if name == "filename_prefix":  # one that another node makes is replaced, too
                stem = value if isinstance(value, str) else "linked"
                inputs[name] = f"{folder}/{stem.replace(chr(92), '/').rpartition('/')[2]}"
            elif isinstance(value, str) and value in uploads:
                inputs[name] = uploads[value]
    return ready


def _node(class_type: str, **inputs: object) -> JsonObject:
    return {"class_type": class_type, "inputs": inputs}
