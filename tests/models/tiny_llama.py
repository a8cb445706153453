"""`PYTHON -m tests.models.tiny_llama FOLDER`: a Llama of 0.3 million random parameters.

Runs in the Python of the model server (torch, transformers, tokenizers), not in ours. Nothing is
downloaded: the tokenizer is trained on this repository's own pages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTEXT = 512
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def main() -> None:
    """Write the model's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)

    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    trainer = ByteLevelBPETokenizer()
    pages = [str(path) for path in sorted((ROOT / "docs").glob("**/*.md"))]
    trainer.train(pages, vocab_size=1024, special_tokens=["<s>", "</s>", "<pad>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trainer._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    ).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    main()
