"""Back end: ComfyUI, one image at a time."""
