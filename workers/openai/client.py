"""`python3 -m workers.openai.client -k KEY -e NAME`: a chat twice, whole and streamed."""

from __future__ import annotations

import argparse
import json
import sys

from ballast.client.arguments import add_connection, ask, parse, print_stream
from ballast.client.sdk import Client

PROMPT = "What is the best movie of all time?"


def main(argv: list[str] | None = None) -> int:
    """Print both answers; 1 when a call failed."""
    parser = argparse.ArgumentParser(description="Chat with an OpenAI endpoint group twice.")
    add_connection(parser)
    parser.add_argument("--model", default="", help="model name, where the server wants one")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--max-tokens", type=int, default=256)
    arguments = parse(parser, argv)
    payload: dict[str, object] = {
        "messages": [{"role": "user", "content": arguments.prompt}],
        "max_tokens": arguments.max_tokens,
        **({"model": arguments.model} if arguments.model else {}),
    }
    route, cost = "/v1/chat/completions", float(arguments.max_tokens)

    def questions(client: Client) -> None:
        with client.request(arguments.endpoint, route, payload, cost=cost) as answer:
            print(json.dumps(answer.json(), ensure_ascii=False))
        streamed = {**payload, "stream": True}
        with client.stream(arguments.endpoint, route, streamed, cost=cost) as answer:
            print_stream(answer, delta_text)

    return ask(arguments, questions)


def delta_text(data: str) -> str:
    """The text of one streamed chat event; empty for `[DONE]`, roles and usage."""
    if data == "[DONE]":
        return ""
    choices = json.loads(data).get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")


if __name__ == "__main__":
    sys.exit(main())
