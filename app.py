"""The Lambda entry: declares routes, schedule and functions, and decides nothing.

`hot` and `reports` are the same app with fewer routes and rights; BALLAST_ROLE says which.
"""

from typing import Any

from chalice import Rate
from chalice.app import CloudWatchEvent

from chalicelib import wiring
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.blueprints import Wired, blueprints_for
from chalicelib.api.telemetry import attach_telemetry

app = BallastApp("ballast")
attach_telemetry(app, wiring.settings().role)
wired = Wired(
    hot_ports=wiring.hot_ports,
    api_ports=wiring.api_ports,
    root_certificate=wiring.root_certificate,
    deployment=wiring.deployment(),
)
for blueprint in blueprints_for(wiring.settings().role, wired):
    app.register_blueprint(blueprint)


@app.lambda_function(name="hot")
def hot(event: Any, context: Any) -> Any:
    """`/route/` and `/pubkey/`."""
    return app(event, context)


@app.lambda_function(name="reports")
def reports(event: Any, context: Any) -> Any:
    """`/worker_status/` and `/delete_requests/`."""
    return app(event, context)


@app.lambda_function(name="scaler")
def scaler(event: Any, context: Any) -> Any:
    """Pokes and management's questions."""
    from chalicelib.api.routes.scaler import (
        answer_event,  # the other functions never load the scaler
    )

    return answer_event(event, context, wiring.scaler_ports)


@app.schedule(Rate(1, unit=Rate.MINUTES), name="scaling_loop")
def scaling_loop(event: CloudWatchEvent) -> Any:
    """A minute of scaling rounds."""
    from chalicelib.api.routes.scaler import (
        answer_event,  # the other functions never load the scaler
    )

    return answer_event({}, event.context, wiring.scaler_ports)


@app.lambda_function(name="notifier")
def notifier(event: Any, context: Any) -> Any:
    """What comes over the alerts' topic, to Slack, Discord and webhooks."""
    from chalicelib.api.routes.receivers import answer_topic

    return answer_topic(event, wiring.notifier_ports)
