"""`python3 -m workers.comfyui.client -k KEY -e NAME`: an image by prompt, then one by workflow."""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path

from ballast.client.arguments import add_connection, ask, parse
from ballast.client.sdk import Answer, Client
from workers.comfyui.cost import RTX_4090_S, image_workload
from workers.comfyui.workflow import ImageRequest, default_workflow

PROMPT = "a lighthouse on a cliff at dawn, oil painting"


def main(argv: list[str] | None = None) -> int:
    """Save both images; 1 when a call failed."""
    parser = argparse.ArgumentParser(description="Ask a ComfyUI endpoint group for two images.")
    add_connection(parser)
    parser.add_argument("--model", choices=sorted(RTX_4090_S), default="flux")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the images")
    arguments = parse(parser, argv)
    image = ImageRequest(arguments.prompt, 1024, 1024, 28, seed=42)
    size: dict[str, object] = {"width": image.width, "height": image.height, "steps": image.steps}
    cost = image_workload(arguments.model, image.width, image.height, image.steps)
    calls: tuple[tuple[str, dict[str, object]], ...] = (
        ("/prompt", {"prompt": image.prompt, "seed": image.seed, **size}),
        (
            "/custom-workflow",
            {"custom_fields": size, "workflow": default_workflow(arguments.model, image)},
        ),
    )

    def questions(client: Client) -> None:
        for route, payload in calls:
            with client.request(arguments.endpoint, route, payload, cost=cost) as answer:
                save(answer, arguments.out, route.strip("/"))

    return ask(arguments, questions)


def save(answer: Answer, folder: Path, name: str) -> None:
    """Write the images of an answer and print their paths."""
    body = answer.json()
    images = body.get("images", []) if isinstance(body, dict) else []
    for number, data_url in enumerate(images):
        head, _, data = str(data_url).partition(",")
        suffix = head.partition("image/")[2].partition(";")[0] or "png"
        path = folder / f"{name}-{number}.{suffix}"
        path.write_bytes(base64.b64decode(data))
        print(path)


if __name__ == "__main__":
    sys.exit(main())
