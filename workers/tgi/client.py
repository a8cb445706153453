"""`python3 -m workers.tgi.client -k KEY -e NAME`: two answers, whole and streamed."""

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
    parser = argparse.ArgumentParser(description="Ask a TGI endpoint group twice.")
    add_connection(parser)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    arguments = parse(parser, argv)
    payload: dict[str, object] = {
        "inputs": arguments.prompt,
        "parameters": {"max_new_tokens": arguments.max_new_tokens},
    }
    cost = float(arguments.max_new_tokens)
    client = Client(arguments.api_key, arguments.url, worker_ca=arguments.worker_ca)
    try:
        with client.request(arguments.endpoint, "/generate", payload, cost=cost) as answer:
            print(json.dumps(answer.json(), ensure_ascii=False))
        with client.stream(arguments.endpoint, "/generate_stream", payload, cost=cost) as answer:
            for data in event_data(answer.chunks()):
                print(token_text(data), end="", flush=True)
        print()
    except CallError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    return 0


def token_text(data: str) -> str:
    """The text of one streamed event of TGI, `{"token": {"text": …}}`; none for `</s>` and such."""
    event = json.loads(data)
    token = event.get("token") if isinstance(event, dict) else None
    if not isinstance(token, dict) or token.get("special"):
        return ""
    return str(token.get("text", ""))


if __name__ == "__main__":
    sys.exit(main())
