"""The allocator's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from shared.settings import Seconds
from shared.store.lease_records import RECORD_VERSION, StoredFormat

from .kubernetes.settings import KubernetesSettings


class AllocatorSettings(KubernetesSettings):
    section: ClassVar[str] = "allocator"

    in_flight_max: Annotated[int, Field(ge=1, le=65_536)] = 1024
    """Requests taken and not yet answered; one more is told to try another replica."""

    durability: Literal["disk", "memory"] = "disk"
    """disk: serve no step on a store that may lose an acknowledged write; memory: accept."""

    durability_interval_s: Seconds = 1.0
    """How often it is looked whether store and journal can keep more."""

    claim_timeout_s: Seconds = 10.0
    """How long another replica's recovery may stand still before this one takes it over."""

    default_expires_after_s: Seconds | None = None
    """How long a fixed lease waits for its pod's return when the pod does not say; none: for
    ever. The 5 minutes that an annotation must allow at least do not bind it."""

    default_policy: Literal["never", "cascade", "scale_down"] = "never"
    """What ends a fixed lease whose pod goes, beside its span: nothing; its workload's end; or
    also a workload that has no more room for it. What is set when the pod goes counts."""

    pod_source: Literal["reports", "folders", "kubernetes"] = "reports"
    """Who says which pods and workloads exist: the agents' reports, folders of objects, or the
    API server; with the last, leases are shown there and the webhooks can be served."""

    pod_folders: str | None = None
    """The folders, as a pattern such as /run/berth/nodes/*/pods."""

    workload_look_s: Seconds = 30.0
    """How often a lease that ends with its workload is looked at."""

    reap_interval_s: Seconds = 1.0
    """How often leases that are due are looked for."""

    reap_batch_max: Annotated[int, Field(ge=1, le=1024)] = 64
    """Leases that one look ends or hands over at most: with the interval, the highest rate."""

    reap_retry_s: Seconds = 10.0
    """A lease that could not be ended or handed over is looked at again after this time."""

    park_after_s: Seconds = 20.0
    """How long the ENI of a fixed lease stays on the node that its pod left: a pod that comes
    back there sooner has it at once. Then it is detached, kept, and gives its slot."""

    park_timeout_s: Seconds = 20.0
    """How long one attempt to detach it may take."""

    journal_fold_interval_s: Seconds = 0.25
    """How often journaled steps are brought from this replica's pages to their own places."""

    stored_format: StoredFormat = RECORD_VERSION
    """The version of records that is written. 1: what the release before cannot read is written
    again, until it could be started on these books; see docs/recovery.md."""

    stored_format_interval_s: Seconds = 5.0
    """How often it is looked for what is left of that."""

    journal_interval_s: Seconds = 2.0
    """How often steps that no replica has journaled are looked for."""

    journal_replicas: Literal[1, 3, 5] = 1
    """Servers of the bus that hold the journal each; of a stream that is there already, the
    operator's own choice stays."""

    cluster_interval_s: Seconds = 0.5
    """How often the cluster's record is looked at; enabling and disabling go on this fast."""

    kubernetes_version: str | None = None
    """Of the cluster's Kubernetes, such as 1.28.3; none: the API server is asked, where there
    is one, or it is not checked when enabling."""

    kubernetes_uses_cni: bool | None = None
    """Whether its nodes run with CNI; none: it is not checked when enabling."""

    @field_validator("journal_replicas", "stored_format", mode="before")
    @classmethod
    def _number_of_text(cls, value: object) -> object:
        """The environment holds text, which pydantic does not take for a number of a choice."""
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @model_validator(mode="after")
    def _folders_are_named(self) -> AllocatorSettings:
        if self.pod_source == "folders" and self.pod_folders is None:
            raise ValueError("pod_source folders needs pod_folders")
        if self.webhook_listen is not None and self.pod_source != "kubernetes":
            raise ValueError("webhook_listen needs pod_source kubernetes")
        return self
