"""CloudFormation: HTTP APIs, alarms and secrets, which stock moto silently leaves out of stacks.

The classes make the resources in moto's own backends, so that tests can assert them through the
services' APIs instead of believing a stack's status.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from moto.apigatewayv2.models import apigatewayv2_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

Made = tuple[str, Mapping[str, str]]  # physical id, and what GetAtt gives
Properties = dict[str, Any]
Make = Callable[[Any, Properties], Made]
_PUT_ANEW = ("AWS::CloudWatch::Alarm", "AWS::ApiGatewayV2::Stage")


class StackResource(CloudFormationModel):
    """A resource made by a stack: what it made, and what Ref and GetAtt give."""

    kind = ""
    backends: Any = None  # moto's of the service, by account and region
    make: Make
    unmake: Callable[[Any, str], None]

    def __init__(self, physical_id: str, attributes: Mapping[str, str]) -> None:
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
        cls, _name: str, document: Any, account: str, region: str, **_: Any
    ) -> Any:
        """Make the resource in its service's backend."""
        return cls(*cls.make(cls.backends[account][region], document.get("Properties", {})))

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, cloudformation_json: Any, **place: str
    ) -> Any:
        """Put an alarm or a stage anew; an HTTP API keeps its address through updates."""
        if cls.kind in _PUT_ANEW:
            backend = cls.backends[place["account_id"]][place["region_name"]]
            cls.make(backend, cloudformation_json["Properties"])
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls, physical_id: str, _document: Any, account: str, region: str
    ) -> None:
        """Remove the resource from its service's backend."""
        cls.unmake(cls.backends[account][region], physical_id)


def _leave(_backend: Any, _physical_id: str) -> None:
    """Goes with the API that owns it, or stays because the template retains it."""


def _make_api(backend: Any, properties: Properties) -> Made:
    api = backend.create_api(
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


def _make_integration(backend: Any, properties: Properties) -> Made:
    made = backend.get_api(properties["ApiId"]).create_integration(
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


def _make_route(backend: Any, properties: Properties) -> Made:
    api, key = backend.get_api(properties["ApiId"]), properties["RouteKey"]
    if not _ROUTE_KEY.fullmatch(key) or "+}" in key[:-2]:
        raise ValueError(
            f"The provided route key is not formatted properly for HTTP protocol: {key!r} "
            "(BadRequestException; a path ends in no slash, a greedy variable stands last)"
        )
    if key in {route.route_key for route in api.routes.values()}:
        raise ValueError(f"Route with key {key} already exists for this API (ConflictException)")
    made = api.create_route(
        api_key_required=False,
        authorization_scopes=[],
        route_key=key,
        target=properties["Target"],
    )
    return made.route_id, {}


def _make_stage(backend: Any, properties: Properties) -> Made:
    api, settings = backend.get_api(properties["ApiId"]), properties.get("RouteSettings", {})
    if unknown := sorted(set(settings) - {route.route_key for route in api.routes.values()}):
        raise ValueError(
            f"Unable to find Route by key {unknown[0]} within the provided RouteSettings"
        )
    stage = api.create_stage(
        {
            "stageName": properties["StageName"],
            "autoDeploy": properties.get("AutoDeploy", False),
            "routeSettings": settings,
            "defaultRouteSettings": properties.get("DefaultRouteSettings", {}),
        }
    )
    return stage.name, {}


def _make_alarm(backend: Any, properties: Properties) -> Made:
    backend.put_metric_alarm(
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


def _make_secret(backend: Any, properties: Properties) -> Made:
    unset = ("secret_string", "secret_binary", "tags", "kms_key_id", "client_request_token")
    name, told = properties["Name"], properties.get("Description")
    backend.create_secret(
        name=name,
        description=told,
        replica_regions=[],
        force_overwrite=False,
        **dict.fromkeys(unset),
    )
    return str(backend.describe_secret(name).arn), {}


def _make_subscription(backend: Any, properties: Properties) -> Made:
    asked = [properties[name] for name in ("TopicArn", "Endpoint", "Protocol")]
    return str(backend.subscribe(*asked).arn), {}


def _make_budget(_backend: Any, properties: Properties) -> Made:
    return str(properties["Budget"]["BudgetName"]), {}


def _resource_class(
    kind: str, backends: Any, make: Make, unmake: Callable[[Any, str], None] = _leave
) -> type:
    """A class that moto finds by its type: it lists the direct subclasses of the model."""
    members = {
        "kind": kind,
        "backends": backends,
        "cloudformation_type": staticmethod(lambda: kind),
        "make": staticmethod(make),
        "unmake": staticmethod(unmake),
    }
    return type(kind.replace("::", ""), (StackResource, CloudFormationModel), members)


_NO_BACKENDS: Any = defaultdict(lambda: defaultdict(str))  # moto's Budgets: no test asks it
_EDGE, _WATCH, _TOPICS = apigatewayv2_backends, cloudwatch_backends, sns_backends
RESOURCE_CLASSES = (
    _resource_class("AWS::ApiGatewayV2::Api", _EDGE, _make_api, lambda apis, i: apis.delete_api(i)),
    _resource_class("AWS::ApiGatewayV2::Integration", _EDGE, _make_integration),
    _resource_class("AWS::ApiGatewayV2::Route", _EDGE, _make_route),
    _resource_class("AWS::ApiGatewayV2::Stage", _EDGE, _make_stage),
    _resource_class(
        "AWS::CloudWatch::Alarm", _WATCH, _make_alarm, lambda alarms, i: alarms.delete_alarms([i])
    ),
    _resource_class("AWS::Budgets::Budget", _NO_BACKENDS, _make_budget),
    _resource_class("AWS::SecretsManager::Secret", secretsmanager_backends, _make_secret),
    _resource_class(
        "AWS::SNS::Subscription",
        _TOPICS,
        _make_subscription,
        lambda topics, i: topics.unsubscribe(i),
    ),
)
"""Kept here, since moto only finds classes that live."""
