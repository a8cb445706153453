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

NEW_ACCOUNT_CONCURRENCY = 10
MAX_NAME = 64
MAX_ENVIRONMENT_BYTES = 4_096
MAX_ZIP_BYTES = 50 * 1024**2
MAX_UNZIPPED_BYTES = 250 * 1024**2


def correct() -> None:
    """Correct moto's Lambda in this process."""
    _answer_account_settings()
    _check_sizes()
    _keep_logging()


def set_concurrency(backend: LambdaBackend, executions: int) -> None:
    """Give an account another quota than a new one has."""
    vars(backend)["concurrency"] = executions


def _answer_account_settings() -> None:
    """Stock moto has no GetAccountSettings."""

    def get_account_settings(self: Any) -> str:
        limit = vars(self.backend).get("concurrency", NEW_ACCOUNT_CONCURRENCY)
        return json.dumps(
            {
                "AccountLimit": {
                    "ConcurrentExecutions": limit,
                    "UnreservedConcurrentExecutions": limit,
                    "CodeSizeUnzipped": MAX_UNZIPPED_BYTES,
                    "CodeSizeZipped": MAX_ZIP_BYTES,
                    "TotalCodeSize": 75 * 1024**3,
                },
                "AccountUsage": {"FunctionCount": 0, "TotalCodeSize": 0},
            }
        )

    LambdaResponse.get_account_settings = get_account_settings
    path = r"{0}/(?P<api_version>[^/]+)/account-settings/?$"
    urls.url_paths[path] = LambdaResponse.dispatch


def _check_sizes() -> None:
    """Stock moto takes packages and environments of any size."""
    stock_create = LambdaBackend.create_function
    stock_update_code = LambdaBackend.update_function_code
    stock_update = LambdaBackend.update_function_configuration

    def create_function(self: Any, spec: dict[str, Any]) -> Any:
        if len(spec["FunctionName"]) > MAX_NAME:
            text = "at 'functionName' failed to satisfy constraint: Member must have length less "
            raise LambdaClientError("ValidationException", f"{text}than or equal to {MAX_NAME}")
        _check_environment(spec)
        _check_package((spec.get("Code") or {}).get("ZipFile"))
        return stock_create(self, spec)

    def update_function_code(self: Any, name: str, qualifier: str, body: dict[str, Any]) -> Any:
        _check_package(body.get("ZipFile"))
        return stock_update_code(self, name, qualifier, body)

    def update_function_configuration(
        self: Any, name: str, qualifier: str, body: dict[str, Any]
    ) -> Any:
        _check_environment(body)
        return stock_update(self, name, qualifier, body)

    LambdaBackend.create_function = create_function
    LambdaBackend.update_function_code = update_function_code
    LambdaBackend.update_function_configuration = update_function_configuration


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


def _keep_logging() -> None:
    """Stock moto forgets LoggingConfig; AWS keeps it through updates that do not name it."""
    stock_update = LambdaFunction.update_configuration
    stock_get = LambdaFunction.get_configuration

    def update_configuration(self: Any, updates: dict[str, Any]) -> dict[str, Any]:
        if "LoggingConfig" in updates:
            vars(self)["logging_config"] = updates["LoggingConfig"]
        answer: dict[str, Any] = stock_update(self, updates)
        return answer

    def get_configuration(self: Any, on_create: bool = False) -> dict[str, Any]:
        logging = vars(self).get("logging_config", {"LogFormat": "Text"})
        group = {"LogGroup": f"/aws/lambda/{self.function_name}"}
        return {**stock_get(self, on_create=on_create), "LoggingConfig": {**group, **logging}}

    LambdaFunction.update_configuration = update_configuration
    LambdaFunction.get_configuration = get_configuration
