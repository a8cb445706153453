"""API Gateway: accepts the Swagger 2.0 document that `chalice deploy` imports.

Stock moto fails on a document without description, and refuses Swagger 2.0.
"""

from __future__ import annotations

from typing import Any

from moto.apigateway.models import APIGatewayBackend

from lab.local.moto_plus.correcting import instead_of


@instead_of(APIGatewayBackend, "import_rest_api")
def _import(_self: Any, stock: Any, api_doc: dict[str, Any], fail_on_warnings: bool) -> Any:
    del fail_on_warnings  # the document is no OpenAPI 3, whatever it now says
    return stock(_as_openapi_3(api_doc), False)


@instead_of(APIGatewayBackend, "put_rest_api")
def _put(_self: Any, stock: Any, api: str, api_doc: dict[str, Any], **options: Any) -> Any:
    return stock(api, _as_openapi_3(api_doc), **{**options, "fail_on_warnings": False})


def _as_openapi_3(document: dict[str, Any]) -> dict[str, Any]:
    """A copy that moto's importer takes for OpenAPI 3."""
    corrected = {**document, "info": {"description": "", **document["info"]}}
    if corrected.pop("swagger", None):
        corrected["openapi"] = "3.0.1"
    return corrected
