"""Back end: HuggingFace Text Generation Inference."""
