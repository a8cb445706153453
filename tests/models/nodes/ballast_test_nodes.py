"""Custom nodes for a real ComfyUI that has no model: work that takes time, and work that fails."""

import time

import comfy.model_management
import comfy.utils


class BallastSlow:
    """Passes an image on after so many steps, telling progress and minding interrupts."""

    CATEGORY, FUNCTION, RETURN_TYPES = "ballast", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE",),
                "steps": ("INT", {"default": 10, "min": 1, "max": 100000}),
                "step_s": ("FLOAT", {"default": 0.05, "min": 0.0, "max": 100.0}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**63}),
            }
        }

    def run(self, image, steps, step_s, seed):
        progress = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(step_s)
            progress.update(1)
        return (image,)


class BallastFails:
    """Raises what a node raises when the GPU's memory is full."""

    CATEGORY, FUNCTION, RETURN_TYPES = "ballast", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "message": ("STRING", {"default": "boom"})}}

    def run(self, image, message):
        raise RuntimeError(message)


NODE_CLASS_MAPPINGS = {"BallastSlow": BallastSlow, "BallastFails": BallastFails}
