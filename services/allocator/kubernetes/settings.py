"""Settings of the allocator's Kubernetes side; they count with `pod_source: kubernetes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.annotations import NetworkMode
from shared.kubernetes.settings import KubernetesAccess
from shared.settings import Seconds


class KubernetesSettings(KubernetesAccess):
    kubernetes_in_flight_max: Annotated[int, Field(ge=1, le=256)] = 16
    """Questions to the API server at once."""

    webhook_listen: str | None = None
    """ADDRESS:PORT of the webhooks and the scheduler extender; none: they are not served."""

    webhook_service: Annotated[str, Field(min_length=1, max_length=63)] = "berth-webhook"
    """The Service by which the API server finds them."""

    webhook_configurations: tuple[str, ...] = ("berth",)
    """The webhook configurations whose caBundle is kept."""

    webhook_renew_interval_s: Seconds = 60.0
    """How often certificates and caBundle are looked at."""

    extender_interval_s: Seconds = 1.0
    """How often the scheduler extender asks which nodes have changed."""

    extender_fresh_s: Seconds = 30.0
    """What it knows of nodes counts for so long; then every node passes."""

    zone_label: str = "topology.kubernetes.io/zone"
    """The nodes' label that holds the cloud's zone."""

    default_network: NetworkMode | None = None
    """The network of pods that name none (a pure VPC-CNI cluster); none: they opt in."""

    callout_key_file: Path | None = None
    """The seed (SA…) of the account in whose name node agents are admitted to the bus by their
    service account's tokens; none: agents have keys of their own."""

    agent_service_account: Annotated[str, Field(min_length=1, max_length=253)] = (
        "berth-node-agent"
    )
    """Whose tokens those are; in `kubernetes_namespace`."""

    agent_token_audience: Annotated[str, Field(min_length=1, max_length=253)] = "berth-bus"
    """What those tokens are made for, so that no other token of a pod opens the bus."""
