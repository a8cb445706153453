"""`python3 -m workers.hello_world.client -k KEY -e NAME`: two answers, whole and streamed."""

from __future__ import annotations

import argparse
import sys

from ballast.client.arguments import add_connection, ask, parse
from ballast.client.sdk import Client


def main(argv: list[str] | None = None) -> int:
    """Print both answers; 1 when a call failed."""
    parser = argparse.ArgumentParser(description="Ask a hello_world endpoint group twice.")
    add_connection(parser)
    arguments = parse(parser, argv)
    payload: dict[str, object] = {"prompt": "Hello?", "max_response_tokens": 100}

    def questions(client: Client) -> None:
        for route in ("/generate", "/generate_stream"):
            with client.request(arguments.endpoint, route, payload, cost=100) as answer:
                for chunk in answer.chunks():
                    print(chunk.decode(errors="replace"), end="", flush=True)
            print()

    return ask(arguments, questions)


if __name__ == "__main__":
    sys.exit(main())
