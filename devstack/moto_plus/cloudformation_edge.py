"""CloudFormation: HTTP APIs, alarms and secrets, which stock moto silently leaves out of stacks.

The classes make the resources in moto's own backends, so that tests can assert them through the
services' APIs instead of believing a stack's status.
"""

from __future__ import annotations

from typing import Any

from moto.apigatewayv2.models import apigatewayv2_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends


class _StackResource(CloudFormationModel):
    """A resource made by a stack: what it made, and what Ref and GetAtt give."""

    kind = ""

    def __init__(self, physical_id: str, attributes: dict[str, str], properties: Any) -> None:
        self.physical_resource_id = physical_id
        self.type = self.kind
        self.attributes = attributes
        self.properties = properties

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
        physical_id, attributes = cls.make(properties, account_id, region_name)
        return cls(physical_id, attributes, properties)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Any:
        """Keep the resource; an HTTP API keeps its address through updates."""
        del new_resource_name, account_id, region_name
        original_resource.properties = cloudformation_json.get("Properties", {})
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
        cls.unmake(resource_name, cloudformation_json["Properties"], account_id, region_name)

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """(physical id, attributes) of a new resource."""
        raise LookupError(cls.kind)

    @classmethod
    def unmake(
        cls, physical_id: str, properties: dict[str, Any], account_id: str, region: str
    ) -> None:
        """Remove; most resources go with the API that owns them."""


class HttpApi(_StackResource, CloudFormationModel):
    """AWS::ApiGatewayV2::Api."""

    kind = "AWS::ApiGatewayV2::Api"

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name."""
        return HttpApi.kind

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """An HTTP API."""
        api = apigatewayv2_backends[account_id][region].create_api(
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

    @classmethod
    def unmake(
        cls, physical_id: str, properties: dict[str, Any], account_id: str, region: str
    ) -> None:
        """Remove the API with all its routes."""
        del properties
        apigatewayv2_backends[account_id][region].delete_api(physical_id)


class HttpIntegration(_StackResource, CloudFormationModel):
    """AWS::ApiGatewayV2::Integration."""

    kind = "AWS::ApiGatewayV2::Integration"

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name."""
        return HttpIntegration.kind

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """An integration of an API."""
        api = apigatewayv2_backends[account_id][region].get_api(properties["ApiId"])
        made = api.create_integration(
            connection_type="INTERNET",
            description="",
            integration_method=properties["IntegrationMethod"],
            integration_type=properties["IntegrationType"],
            integration_uri=properties["IntegrationUri"],
            payload_format_version=properties["PayloadFormatVersion"],
            timeout_in_millis=properties.get("TimeoutInMillis"),
        )
        return made.id, {}


class HttpRoute(_StackResource, CloudFormationModel):
    """AWS::ApiGatewayV2::Route."""

    kind = "AWS::ApiGatewayV2::Route"

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name."""
        return HttpRoute.kind

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """A route of an API."""
        api = apigatewayv2_backends[account_id][region].get_api(properties["ApiId"])
        made = api.create_route(
            api_key_required=False,
            authorization_scopes=[],
            route_key=properties["RouteKey"],
            target=properties["Target"],
        )
        return made.route_id, {}


class HttpStage(_StackResource, CloudFormationModel):
    """AWS::ApiGatewayV2::Stage."""

    kind = "AWS::ApiGatewayV2::Stage"

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name."""
        return HttpStage.kind

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """A stage of an API."""
        api = apigatewayv2_backends[account_id][region].get_api(properties["ApiId"])
        stage = api.create_stage(
            {
                "stageName": properties["StageName"],
                "autoDeploy": properties.get("AutoDeploy", False),
                "routeSettings": properties.get("RouteSettings", {}),
                "defaultRouteSettings": properties.get("DefaultRouteSettings", {}),
            }
        )
        return stage.name, {}


class Alarm(_StackResource, CloudFormationModel):
    """AWS::CloudWatch::Alarm."""

    kind = "AWS::CloudWatch::Alarm"

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name."""
        return Alarm.kind

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """An alarm on one metric."""
        cloudwatch_backends[account_id][region].put_metric_alarm(
            name=properties["AlarmName"],
            namespace=properties["Namespace"],
            metric_name=properties["MetricName"],
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            period=int(properties["Period"]),
            threshold=float(properties["Threshold"]),
            statistic=properties["Statistic"],
            description=properties.get("AlarmDescription", ""),
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties.get("AlarmActions", []),
            ok_actions=properties.get("OKActions", []),
            treat_missing_data=properties.get("TreatMissingData"),
        )
        return properties["AlarmName"], {}

    @classmethod
    def unmake(
        cls, physical_id: str, properties: dict[str, Any], account_id: str, region: str
    ) -> None:
        """Remove the alarm."""
        del properties
        cloudwatch_backends[account_id][region].delete_alarms([physical_id])


class Secret(_StackResource, CloudFormationModel):
    """AWS::SecretsManager::Secret, made without a value."""

    kind = "AWS::SecretsManager::Secret"

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name."""
        return Secret.kind

    @classmethod
    def make(
        cls, properties: dict[str, Any], account_id: str, region: str
    ) -> tuple[str, dict[str, str]]:
        """A secret."""
        backend = secretsmanager_backends[account_id][region]
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


def correct() -> None:
    """Nothing to do: moto finds the classes above because they are defined."""
