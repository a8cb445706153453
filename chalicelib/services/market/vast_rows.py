"""What we know of the marketplace, named as Vast names it, for tools that ask us instead of Vast.

Sizes in MB where Vast has MB. Secrets are not in our values, so they are not in these rows.
"""

from __future__ import annotations

import json

from chalicelib.core.model.market import InstanceRecord, Offer
from chalicelib.ports.marketplace import Template
from chalicelib.wire.vast import MB_PER_GB

Row = dict[str, object]


def instance_row(record: InstanceRecord) -> Row:
    """An instance as `GET /api/v0/instances/{id}/` has it (protocol.md F.3)."""
    return {
        "id": record.instance_id,
        "label": record.label,
        "actual_status": record.actual_status,
        "intended_status": record.intended_status,
        "cur_state": record.cur_state,
        "status_msg": record.status_msg,
        "machine_id": record.machine_id,
        "host_id": record.host_id,
        "gpu_name": record.gpu_name,
        "num_gpus": record.num_gpus,
        "dlperf": record.dlperf,
        "reliability2": record.reliability,
        "is_bid": record.is_bid,
        "dph_base": record.bid_usd_per_hour
        if record.is_bid
        else record.usd_per_hour - record.storage_usd_per_hour,
        "dph_total": record.usd_per_hour,
        "storage_total_cost": record.storage_usd_per_hour,
        "inet_up_cost": record.inet_up_usd_per_gb,
        "inet_down_cost": record.inet_down_usd_per_gb,
        "public_ipaddr": record.public_ipaddr,
        "ports": {
            name: [{"HostIp": "0.0.0.0", "HostPort": str(port)}]  # noqa: S104  as docker says it
            for name, port in record.ports.items()
        },
        "disk_space": record.disk_space_gb,
        "start_date": record.started_at,
        "end_date": record.ends_at,
        "template_hash_id": record.template_hash,
        "extra_env": [],
    }


def offer_row(offer: Offer) -> Row:
    """An offer as `POST /api/v0/bundles/` has it (protocol.md F.2)."""
    return {
        "id": offer.offer_id,
        "ask_contract_id": offer.offer_id,
        "machine_id": offer.machine_id,
        "host_id": offer.host_id,
        "gpu_name": offer.gpu_name,
        "num_gpus": offer.num_gpus,
        "gpu_ram": offer.gpu_ram_gb * MB_PER_GB,
        "gpu_total_ram": offer.gpu_ram_gb * offer.num_gpus * MB_PER_GB,
        "dph_base": offer.usd_per_hour - offer.storage_usd_per_hour,
        "dph_total": offer.usd_per_hour,
        "dlperf": offer.dlperf,
        "dlperf_per_dphtotal": offer.dlperf / offer.usd_per_hour if offer.usd_per_hour else 0.0,
        "reliability2": offer.reliability,
        "inet_down": offer.inet_down_mbps,
        "inet_down_cost": offer.inet_down_usd_per_gb,
        "inet_up_cost": offer.inet_up_usd_per_gb,
        "disk_space": offer.disk_space_gb,
        "direct_port_count": offer.direct_port_count,
        "end_date": offer.ends_at,
        "verification": "verified" if offer.verified else "unverified",
        "geolocation": offer.geolocation,
        "rentable": True,
    }


def template_row(template: Template) -> Row:
    """A template as `GET /api/v0/template/` has it, without environment and start command."""
    return {
        "id": template.template_id,
        "hash_id": template.hash_id,
        "name": template.name,
        "image": template.image,
        "recommended_disk_space": template.disk_gb,
        "extra_filters": json.dumps(dict(template.extra_filters)),  # Vast gives it as text
    }
