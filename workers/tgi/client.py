"""`python3 -m workers.tgi.client -k KEY -e NAME`: two answers, whole and streamed."""

from __future__ import annotations

import argparse
import json
import sys

from ballast.client.arguments import add_connection, ask, parse, print_stream
from ballast.client.sdk import Client

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

    def questions(client: Client) -> None:
        with client.request(arguments.endpoint, "/generate", payload, cost=cost) as answer:
            print(json.dumps(answer.json(), ensure_ascii=False))
        with client.stream(arguments.endpoint, "/generate_stream", payload, cost=cost) as answer:
            print_stream(answer, token_text)

    return ask(arguments, questions)


def token_text(data: str) -> str:
    """The text of one streamed event of TGI, `{"token": {"text": …}}`; none for `</s>` and such."""
    event = json.loads(data)
    token = event.get("token") if isinstance(event, dict) else None
    if not isinstance(token, dict) or token.get("special"):
        return ""
    return str(token.get("text", ""))


if __name__ == "__main__":
    sys.exit(main())
