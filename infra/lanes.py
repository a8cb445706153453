"""The edge's lanes in its template: route keys are literal there, so they are written into it.

What a lane is for stands in `chalicelib/services/market/lanes.py`. Reports go to the function that
takes them, and what a new worker fetches (its key, the bundle) to the one that serves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chalicelib.ports.signer import SecretBox
from chalicelib.services.market.lanes import N_LANES, lane_path

ROUTES_MARK: Final = "  # The lanes' routes: infra/lanes.py\n"
WAITS_MARK: Final = "      # The lanes' routes: infra/lanes.py\n"
SETTINGS_MARK: Final = "        # The lanes' throttles: infra/lanes.py\n"
_INTEGRATIONS: Final = {"POST": "ReportsIntegration", "GET": "ManagementIntegration"}


def lane_paths(secrets: SecretBox) -> list[str]:
    """The paths of all lanes; a new pepper of workers' tokens makes others."""
    return [lane_path(secrets, lane) for lane in range(N_LANES)]


def with_lanes(template: str, paths: Sequence[str]) -> str:
    """The edge's template with two routes and two throttles for each path.

    Raises:
        ValueError: a place for them is missing.
    """
    lanes = [
        (f"Lane{i}{method.capitalize()}", f"{method} /{path}/{{proxy+}}", integration)
        for i, path in enumerate(paths)
        for method, integration in _INTEGRATIONS.items()
    ]
    routes = "".join(
        f"  {name}:\n    Type: AWS::ApiGatewayV2::Route\n    Properties: {{ApiId: !Ref Api, "
        f'RouteKey: "{key}", Target: !Sub "integrations/${{{integration}}}"}}\n'
        for name, key, integration in lanes
    )
    waits = "".join(f"      - {name}\n" for name, _, _ in lanes)
    settings = "".join(
        f'        "{key}": {{ThrottlingRateLimit: !Ref LaneRate, '
        "ThrottlingBurstLimit: !Ref LaneBurst}\n"
        for _, key, _ in lanes
    )
    filled = template
    for mark, text in ((WAITS_MARK, waits), (SETTINGS_MARK, settings), (ROUTES_MARK, routes)):
        if mark not in filled:
            raise ValueError(f"edge.yaml has no place for {mark.strip()!r}")
        filled = filled.replace(mark, text, 1)
    return filled
