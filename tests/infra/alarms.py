"""CloudWatch's alarms, evaluated: what a template's alarm says of given data points.

Semantics by CloudWatch's user guide (docs/internals/aws-rules.md, alarms): a period without data is
as `TreatMissingData` says; an alarm fires when every period that it evaluates breaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfnlint.decode.cfn_yaml import loads

INFRA = Path(__file__).parent.parent.parent / "infra"


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric. `owner`: the value of its one dimension, "" for none."""

    at: float
    namespace: str
    name: str
    owner: str
    value: float


def alarms_of(stage: str) -> dict[str, dict[str, Any]]:
    """The alarms of the operations and edge stacks, by name without stage."""
    found: dict[str, dict[str, Any]] = {}
    for template in ("ops.yaml", "edge.yaml"):
        resources = loads((INFRA / template).read_text())["Resources"]
        text = json.dumps(resources).replace("${Stage}", stage)
        found |= {
            name: one["Properties"]
            for name, one in json.loads(text).items()
            if one["Type"] == "AWS::CloudWatch::Alarm"
        }
    return found


def fires(
    alarm: Mapping[str, Any], samples: Iterable[Sample], now: float, **parameters: float
) -> bool:
    """Whether the alarm is in ALARM at `now`; `parameters` are values of the stack's own."""
    samples = list(samples)
    period = int(alarm["Period"] if "Period" in alarm else _stats(alarm)[0]["Period"])
    threshold = alarm["Threshold"]
    if isinstance(threshold, Mapping):
        threshold = parameters[threshold["Ref"]]
    verdicts = []
    for n in range(int(alarm["EvaluationPeriods"])):
        end = now - n * period
        inside = [one for one in samples if end - period < one.at <= end]
        value = _value(alarm, inside)
        if value is None:
            verdicts.append(alarm["TreatMissingData"] == "breaching")
        else:
            verdicts.append(_breaches(alarm["ComparisonOperator"], value, float(threshold)))
    return all(verdicts)


def _value(alarm: Mapping[str, Any], inside: list[Sample]) -> float | None:
    if "Metrics" not in alarm:
        return _statistic(alarm, alarm["Statistic"], inside)
    values = {
        row["Id"]: _statistic(row["MetricStat"]["Metric"], row["MetricStat"]["Stat"], inside)
        for row in alarm["Metrics"]
        if "MetricStat" in row
    }
    (expression,) = [row["Expression"] for row in alarm["Metrics"] if "Expression" in row]
    assert expression == "FILL(bad, 0) / rounds", "the one expression that is understood here"
    return None if values["rounds"] is None else (values["bad"] or 0.0) / values["rounds"]


def _stats(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row["MetricStat"] for row in alarm["Metrics"] if "MetricStat" in row]


def _statistic(metric: Mapping[str, Any], statistic: str, inside: list[Sample]) -> float | None:
    owners = [_text(one["Value"]) for one in metric.get("Dimensions", [])]
    values = [
        one.value
        for one in inside
        if (one.namespace, one.name) == (metric["Namespace"], metric["MetricName"])
        and (not owners or one.owner == owners[0])
    ]
    if not values:
        return None
    return {
        "Sum": sum(values),
        "Maximum": max(values),
        "Average": sum(values) / len(values),
        "SampleCount": float(len(values)),
    }[statistic]


def _text(value: Any) -> str:
    return str(value["Fn::Sub"] if "Fn::Sub" in value else value["Ref"])


def _breaches(operator: str, value: float, threshold: float) -> bool:
    return {
        "GreaterThanOrEqualToThreshold": value >= threshold,
        "GreaterThanThreshold": value > threshold,
        "LessThanThreshold": value < threshold,
    }[operator]


def emitted(printed: str, at: float) -> Iterator[Sample]:
    """The samples of a log line in CloudWatch's embedded format; none for an empty one."""
    for text in printed.splitlines():
        line = json.loads(text)
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            for metric in directive["Metrics"]:
                values = line[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    owner = str(line["service"])
                    yield Sample(at, directive["Namespace"], metric["Name"], owner, float(value))
