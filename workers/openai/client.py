"""`python3 -m workers.openai.client -k KEY -e NAME`: a chat twice, whole and streamed."""

from __future__ import annotations

import argparse
import json
import sys

from client.arguments import add_connection, parse
from client.errors import CallError
from client.sdk import Client
from client.sse import event_data

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
    client = Client(arguments.api_key, arguments.url, worker_ca=arguments.worker_ca)
    try:
        with client.request(arguments.endpoint, route, payload, cost=cost) as answer:
            print(json.dumps(answer.json(), ensure_ascii=False))
        payload["stream"] = True
        with client.stream(arguments.endpoint, route, payload, cost=cost) as answer:
            for data in event_data(answer.chunks()):
                print(delta_text(data), end="", flush=True)
        print()
    except CallError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    return 0


def delta_text(data: str) -> str:
    """The text of one streamed chat event; empty for `[DONE]`, roles and usage."""
    if data == "[DONE]":
        return ""
    choices = json.loads(data).get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")


if __name__ == "__main__":
    sys.exit(main())
