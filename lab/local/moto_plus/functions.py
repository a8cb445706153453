"""Lambda: the account's quota, and the sizes that AWS refuses (docs/internals/aws-rules.md)."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from typing import Any

from moto.awslambda import urls
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.awslambda.responses import LambdaResponse

from lab.local.moto_plus.correcting import instead_of

NEW_ACCOUNT_CONCURRENCY = 10
MAX_NAME = 64
MAX_ENVIRONMENT_BYTES = 4_096
MAX_ZIP_BYTES = 50 * 1024**2
MAX_UNZIPPED_BYTES = 250 * 1024**2


def _get_account_settings(_self: Any) -> str:
    """Stock moto has no GetAccountSettings."""
    limit = {
        "ConcurrentExecutions": NEW_ACCOUNT_CONCURRENCY,
        "UnreservedConcurrentExecutions": NEW_ACCOUNT_CONCURRENCY,
        "CodeSizeUnzipped": MAX_UNZIPPED_BYTES,
        "CodeSizeZipped": MAX_ZIP_BYTES,
        "TotalCodeSize": 75 * 1024**3,
    }
    usage = {"FunctionCount": 0, "TotalCodeSize": 0}
    return json.dumps({"AccountLimit": limit, "AccountUsage": usage})


LambdaResponse.get_account_settings = _get_account_settings
urls.url_paths[r"{0}/(?P<api_version>[^/]+)/account-settings/?$"] = LambdaResponse.dispatch


@instead_of(LambdaBackend, "create_function")
def _create(_self: Any, stock: Any, spec: dict[str, Any]) -> Any:
    """Stock moto takes names, packages and environments of any size."""
    if len(spec["FunctionName"]) > MAX_NAME:
        text = "at 'functionName' failed to satisfy constraint: Member must have length less "
        raise LambdaClientError("ValidationException", f"{text}than or equal to {MAX_NAME}")
    _check_environment(spec)
    _check_package((spec.get("Code") or {}).get("ZipFile"))
    return stock(spec)


@instead_of(LambdaBackend, "update_function_code", "update_function_configuration")
def _update(_self: Any, stock: Any, name: str, qualifier: str, body: dict[str, Any]) -> Any:
    _check_environment(body)
    _check_package(body.get("ZipFile"))
    return stock(name, qualifier, body)


def _check_environment(spec: dict[str, Any]) -> None:
    variables = (spec.get("Environment") or {}).get("Variables") or {}
    size = len(json.dumps(variables, separators=(",", ":")))
    if size > MAX_ENVIRONMENT_BYTES:
        raise LambdaClientError(
            "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment "
            f"variables you have provided exceeded the 4KB limit. String measured: {size}",
        )


def _check_package(given: bytes | str | None) -> None:
    if not given:
        return
    body = base64.b64decode(given)
    if len(body) > MAX_ZIP_BYTES:
        raise LambdaClientError(
            "RequestEntityTooLargeException",
            f"Request must be smaller than {MAX_ZIP_BYTES} bytes for the zipped package",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            unzipped = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile:
        return  # tests of stacks give any bytes for code
    if unzipped > MAX_UNZIPPED_BYTES:
        raise LambdaClientError(
            "InvalidParameterValueException",
            f"Unzipped size must be smaller than {MAX_UNZIPPED_BYTES} bytes",
        )


@instead_of(LambdaFunction, "update_configuration")
def _keep_logging(self: Any, stock: Any, updates: dict[str, Any]) -> Any:
    """Stock moto forgets LoggingConfig; AWS keeps it through updates that do not name it."""
    if "LoggingConfig" in updates:
        vars(self)["logging_config"] = updates["LoggingConfig"]
    return stock(updates)


@instead_of(LambdaFunction, "get_configuration")
def _tell_logging(self: Any, stock: Any, on_create: bool = False) -> dict[str, Any]:
    group = {"LogGroup": f"/aws/lambda/{self.function_name}", "LogFormat": "Text"}
    logging = {**group, **vars(self).get("logging_config", {})}
    return {**stock(on_create=on_create), "LoggingConfig": logging}
