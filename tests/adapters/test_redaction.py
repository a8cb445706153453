"""Texts of others lose their secrets and keep their sense."""

from __future__ import annotations

import json

import pytest

from chalicelib.adapters.vast.redaction import redact

SECRETS = [
    "docker run -e HF_TOKEN=s3cr3tvalue image",
    "-e 'REGISTRY_PASSWORD=s3cr3tvalue'",
    "Authorization: Bearer s3cr3tvalue",
    "header Basic s3cr3tvalue==",
    json.dumps({"MASTER_TOKEN": "s3cr3tvalue"}),
    json.dumps(json.dumps({"api_key": "s3cr3tvalue"})),
    "https://host/x?api_key=s3cr3tvalue&limit=3",
    "AWS_SECRET_ACCESS_KEY: s3cr3tvalue",
    "token hf_s3cr3tvalue",
    "invalid key blk.a-r-00112233.1.s3cr3tvalues3cr3tvalue",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_hidden(text: str) -> None:
    assert "s3cr3tvalue" not in redact(text)
    assert "[hidden]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "success, running vllm/vllm-openai:v0.6 --max-tokens 4096",
        "API requests too frequent: endpoint threshold=3.0",
        "no_such_ask: offer 123 is gone",
        "basic checks failed",
        "HF_TOKEN must be set",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text
