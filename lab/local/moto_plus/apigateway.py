"""API Gateway: accepts the Swagger 2.0 document that `chalice deploy` imports."""

from __future__ import annotations

from typing import Any

from moto.apigateway.models import APIGatewayBackend


def correct() -> None:
    """Stock moto fails on a document without description, and refuses Swagger 2.0."""
    stock_import, stock_put = APIGatewayBackend.import_rest_api, APIGatewayBackend.put_rest_api

    def import_rest_api(self: Any, api_doc: dict[str, Any], fail_on_warnings: bool) -> Any:
        del fail_on_warnings  # the document is no OpenAPI 3, whatever it now says
        return stock_import(self, _as_openapi_3(api_doc), False)

    def put_rest_api(
        self: Any,
        function_id: str,
        api_doc: dict[str, Any],
        fail_on_warnings: bool = False,
        mode: str = "merge",
    ) -> Any:
        del fail_on_warnings
        return stock_put(self, function_id, _as_openapi_3(api_doc), False, mode)

    APIGatewayBackend.import_rest_api = import_rest_api
    APIGatewayBackend.put_rest_api = put_rest_api


def _as_openapi_3(document: dict[str, Any]) -> dict[str, Any]:
    """A copy that moto's importer takes for OpenAPI 3."""
    corrected = {**document, "info": {"description": "", **document["info"]}}
    if corrected.pop("swagger", None):
        corrected["openapi"] = "3.0.1"
    return corrected
