"""API Gateway events (payload format 1.0) for benchmarks."""

from __future__ import annotations

from typing import Any


def post_event(resource: str, body: str) -> dict[str, Any]:
    """A POST as an HTTP API or a REST API delivers it."""
    return {
        "resource": resource,
        "path": f"{resource}/",
        "httpMethod": "POST",
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": resource,
            "path": f"{resource}/",
            "identity": {"sourceIp": "203.0.113.5"},
        },
        "body": body,
        "isBase64Encoded": False,
    }
