"""CloudFormation: HTTP APIs, alarms and secrets, which stock moto silently leaves out of stacks.

The classes make the resources in moto's own backends, so that tests can assert them through the
services' APIs instead of believing a stack's status.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moto.apigatewayv2.models import apigatewayv2_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends


@dataclass(frozen=True, slots=True)
class Place:
    """An account's region."""

    account_id: str
    region: str


Attributes = dict[str, str]
_PUT_ANEW = ("AWS::CloudWatch::Alarm", "AWS::ApiGatewayV2::Stage")
Make = Callable[[dict[str, Any], Place], tuple[str, Attributes]]  # → (physical id, GetAtt values)
Unmake = Callable[[str, Place], None]


class _StackResource(CloudFormationModel):
    """A resource made by a stack: what it made, and what Ref and GetAtt give."""

    kind = ""
    make: Make
    unmake: Unmake

    def __init__(self, physical_id: str, attributes: Attributes) -> None:
        self.physical_resource_id = physical_id
        self.type = self.kind
        self.attributes = attributes

    @staticmethod
    def cloudformation_name_type() -> str:
        """No name property: names are made here."""
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Every attribute is asked of the instance."""
        del attr
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        """What GetAtt gives."""
        return self.attributes[attribute_name]

    def is_created(self) -> bool:
        """At once."""
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Any:
        """Make the resource in its service's backend."""
        del resource_name, kwargs
        properties = cloudformation_json.get("Properties", {})
        return cls(*cls.make(properties, Place(account_id, region_name)))

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Any:
        """Put an alarm or a stage anew; an HTTP API keeps its address through updates."""
        del new_resource_name
        if cls.kind in _PUT_ANEW:
            cls.make(cloudformation_json["Properties"], Place(account_id, region_name))
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> None:
        """Remove the resource from its service's backend."""
        del cloudformation_json
        cls.unmake(resource_name, Place(account_id, region_name))


def _leave(physical_id: str, place: Place) -> None:
    """Goes with the API that owns it, or stays because the template retains it."""
    del physical_id, place


def _make_api(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    api = apigatewayv2_backends[place.account_id][place.region].create_api(
        api_key_selection_expression="",
        cors_configuration=None,
        description=properties.get("Description", ""),
        disable_schema_validation="",
        disable_execute_api_endpoint=properties.get("DisableExecuteApiEndpoint", ""),
        name=properties["Name"],
        protocol_type=properties["ProtocolType"],
        route_selection_expression="",
        tags={},
        version="",
    )
    return api.api_id, {"ApiEndpoint": api.api_endpoint}


def _delete_api(physical_id: str, place: Place) -> None:
    apigatewayv2_backends[place.account_id][place.region].delete_api(physical_id)


def _api_of(properties: dict[str, Any], place: Place) -> Any:
    return apigatewayv2_backends[place.account_id][place.region].get_api(properties["ApiId"])


def _make_integration(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    made = _api_of(properties, place).create_integration(
        connection_type="INTERNET",
        description="",
        integration_method=properties["IntegrationMethod"],
        integration_type=properties["IntegrationType"],
        integration_uri=properties["IntegrationUri"],
        payload_format_version=properties["PayloadFormatVersion"],
        timeout_in_millis=properties.get("TimeoutInMillis"),
    )
    return made.id, {}


_ROUTE_KEY = re.compile(r"\$default|(ANY|GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/|(/[^/\s]+)+)")


def _make_route(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    key = properties["RouteKey"]
    if not _ROUTE_KEY.fullmatch(key) or "+}" in key[:-2]:
        raise ValueError(
            f"The provided route key is not formatted properly for HTTP protocol: {key!r} "
            "(BadRequestException; a path ends in no slash, a greedy variable stands last)"
        )
    if key in {route.route_key for route in _api_of(properties, place).routes.values()}:
        raise ValueError(f"Route with key {key} already exists for this API (ConflictException)")
    made = _api_of(properties, place).create_route(
        api_key_required=False,
        authorization_scopes=[],
        route_key=properties["RouteKey"],
        target=properties["Target"],
    )
    return made.route_id, {}


def _make_stage(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    known = {route.route_key for route in _api_of(properties, place).routes.values()}
    unknown = sorted(set(properties.get("RouteSettings", {})) - known)
    if unknown:
        raise ValueError(
            f"Unable to find Route by key {unknown[0]} within the provided RouteSettings"
        )
    stage = _api_of(properties, place).create_stage(
        {
            "stageName": properties["StageName"],
            "autoDeploy": properties.get("AutoDeploy", False),
            "routeSettings": properties.get("RouteSettings", {}),
            "defaultRouteSettings": properties.get("DefaultRouteSettings", {}),
        }
    )
    return stage.name, {}


def _make_alarm(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    cloudwatch_backends[place.account_id][place.region].put_metric_alarm(
        name=properties["AlarmName"],
        namespace=properties.get("Namespace", ""),
        metric_name=properties.get("MetricName", ""),
        comparison_operator=properties["ComparisonOperator"],
        evaluation_periods=int(properties["EvaluationPeriods"]),
        period=int(properties.get("Period", 0)),
        threshold=float(properties["Threshold"]),
        statistic=properties.get("Statistic", ""),
        description=properties.get("AlarmDescription", ""),
        dimensions=properties.get("Dimensions", []),
        alarm_actions=properties.get("AlarmActions", []),
        ok_actions=properties.get("OKActions", []),
        treat_missing_data=properties.get("TreatMissingData"),
    )
    return properties["AlarmName"], {}


def _delete_alarm(physical_id: str, place: Place) -> None:
    cloudwatch_backends[place.account_id][place.region].delete_alarms([physical_id])


def _make_budget(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    del place  # moto's Budgets has no part that a test asks
    return str(properties["Budget"]["BudgetName"]), {}


def _make_secret(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    backend = secretsmanager_backends[place.account_id][place.region]
    backend.create_secret(
        name=properties["Name"],
        secret_string=None,
        secret_binary=None,
        description=properties.get("Description"),
        tags=None,
        kms_key_id=None,
        client_request_token=None,
        replica_regions=[],
        force_overwrite=False,
    )
    return str(backend.describe_secret(properties["Name"]).arn), {}


def _make_subscription(properties: dict[str, Any], place: Place) -> tuple[str, Attributes]:
    made = sns_backends[place.account_id][place.region].subscribe(
        topic_arn=properties["TopicArn"],
        endpoint=properties["Endpoint"],
        protocol=properties["Protocol"],
    )
    return str(made.arn), {}


def _delete_subscription(physical_id: str, place: Place) -> None:
    sns_backends[place.account_id][place.region].unsubscribe(physical_id)


def _resource_class(kind: str, make: Make, unmake: Unmake = _leave) -> type:
    """A class that moto finds by its type: it lists the direct subclasses of the model."""
    members = {
        "kind": kind,
        "cloudformation_type": staticmethod(lambda: kind),
        "make": staticmethod(make),
        "unmake": staticmethod(unmake),
    }
    return type(kind.replace("::", ""), (_StackResource, CloudFormationModel), members)


RESOURCE_CLASSES = (
    _resource_class("AWS::ApiGatewayV2::Api", _make_api, _delete_api),
    _resource_class("AWS::ApiGatewayV2::Integration", _make_integration),
    _resource_class("AWS::ApiGatewayV2::Route", _make_route),
    _resource_class("AWS::ApiGatewayV2::Stage", _make_stage),
    _resource_class("AWS::CloudWatch::Alarm", _make_alarm, _delete_alarm),
    _resource_class("AWS::Budgets::Budget", _make_budget),
    _resource_class("AWS::SecretsManager::Secret", _make_secret),
    _resource_class("AWS::SNS::Subscription", _make_subscription, _delete_subscription),
)
"""Kept here, since moto only finds classes that live."""


def correct() -> None:
    """Nothing to do: moto finds the classes above because they are defined."""
