"""The node agent's settings."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from shared.ids import InstanceId, NodeName
from shared.settings import Seconds, ServiceSettings


class PodSourceKind(StrEnum):
    FOLDER = "folder"
    KUBERNETES = "kubernetes"
    NONE = "none"


class NodeAgentSettings(ServiceSettings):
    """Section ``node_agent``; the node's name is BERTH_NODE."""

    section: ClassVar[str] = "node_agent"

    node: Annotated[NodeName, Field(min_length=1, max_length=253)]
    """The node's name in Kubernetes: part of every subject this agent uses."""

    instance: InstanceId | None = None
    """The cloud's id of this machine (ins-…); none: asked of the metadata service."""

    node_group: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The group of nodes whose capacity settings count for this node (`berth capacity`)."""

    warm_addresses_min: Annotated[int, Field(ge=0, le=512)] | None = None
    """Idle addresses that this node has ready; none: what its group or the cluster says."""

    warm_addresses_max: Annotated[int, Field(ge=0, le=512)] | None = None
    """Idle addresses above this are taken back from it; none: as its group or cluster says."""

    metadata_url: str = "http://169.254.0.23"
    """The instance metadata service, which needs no credentials."""

    metadata_timeout_s: Seconds = 5.0
    """How long the metadata service may take to answer."""

    pod_source: PodSourceKind = PodSourceKind.FOLDER
    """Where pods' annotations come from: a folder of Pod objects, the API server, or none."""

    pod_folder: Path | None = None
    """The folder of Pod objects, files named <namespace>_<name>.json."""

    kubernetes_config: Path | None = None
    """A kubeconfig with a token or a certificate; none: the service account of this pod."""

    kubernetes_timeout_s: Seconds = 5.0
    """How long the API server may take to answer."""

    cni_conf_dir: Path | None = None
    """Where 10-berth.conflist appears once this node can serve; none: nowhere."""

    cni_bin_dir: Path | None = None
    """Where the CNI plugin is installed at start; none: nowhere."""

    add_timeout_s: Annotated[float, Field(ge=1, le=600)] = 60.0
    """How long an ADD may take in all, written to the configuration list: less than the runtime
    has patience, so that the reason why it failed is heard."""

    kubelet_dir: Path | None = None
    """kubelet's folder (mostly /var/lib/kubelet): with it the device plugin offers the node's
    addresses as resources; none: no device plugin."""

    devices_hold_s: Seconds = 60.0
    """How long fewer addresses must be there before kubelet is shown fewer."""

    runtime_socket: Path | None = None
    """The container runtime's CRI socket: with it garbage is what the runtime does not list
    among its sandboxes; none: what has lost its namespace, and whose pod is unknown."""

    garbage_interval_s: Seconds = 60.0
    """How often attachments without a sandbox are looked for."""

    garbage_grace_s: Seconds = 180.0
    """How long one must be missed before it is freed: a runtime lists a sandbox only once it
    runs, and may take two minutes until then."""

    status_tells_exhausted: bool = False
    """Whether STATUS fails also while no address is idle; the node is NotReady then."""

    cooling_s: Seconds = 130.0
    """How long a released address rests: connections and neighbours of its last pod die."""

    cooling_least_s: Seconds = 10.0
    """How long it rests at least when pods wait and nothing is idle; then the kernel is made to
    forget its connections, and it is used again before `cooling_s` is over."""

    table_base: Annotated[int, Field(ge=256, le=1 << 20)] = 4000
    """The routing table of the pods; an ENI's is this plus its link's index (others claim 2004
    and 2005)."""

    masquerade: bool = False
    """Whether pods leave the VPC with the node's source."""

    non_masquerade_cidrs: Annotated[tuple[IPv4Network, ...], Field(max_length=64)] = ()
    """With masquerade: destinations that see the pods' own addresses (the VPC's networks)."""

    service_cidrs: Annotated[tuple[IPv4Network, ...], Field(max_length=64)] = ()
    """The cluster's service networks: pods with an ENI of their own reach them by the node."""

    rest_interval_s: Seconds = 1.0
    """How often cooled addresses are looked for."""

    repair_interval_s: Seconds = 3.0
    """How often the kernel is compared with the book, beside its own notices of change."""

    report_interval_s: Seconds = 5.0
    """How often what the allocator has not heard is said again."""

    want_interval_s: Seconds = 5.0
    """How often the node says what it wants when nothing changes."""

    spool_interval_s: Seconds = 5.0
    """How often deletions that the plugin left behind are looked for."""

    orders_in_flight_max: Annotated[int, Field(ge=1, le=1024)] = 16
    """Orders of the eni_manager worked on at once."""

    releases_in_flight_max: Annotated[int, Field(ge=1, le=1024)] = 32
    """Releases delivered at once."""

    calls_in_flight_max: Annotated[int, Field(ge=1, le=4096)] = 256
    """CNI calls served at once; further ones are told to try again."""

    @model_validator(mode="after")
    def _folder_is_named(self) -> NodeAgentSettings:
        if self.pod_source is PodSourceKind.FOLDER and self.pod_folder is None:
            raise ValueError("pod_source folder needs pod_folder")
        low, high = self.warm_addresses_min, self.warm_addresses_max
        if low is not None and high is not None and low > high:
            raise ValueError(f"warm_addresses_min {low} is above warm_addresses_max {high}")
        if self.masquerade and not self.non_masquerade_cidrs:
            raise ValueError("masquerade needs non_masquerade_cidrs: the VPC's networks")
        return self
