"""Settings of services that speak with the API server and show there what their books hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.settings import Seconds, StoreSettings


class KubernetesAccess(StoreSettings):
    kubernetes_config: Path | None = None
    """A kubeconfig; none: the service account of this pod."""

    kubernetes_timeout_s: Seconds = 10.0
    """How long the API server may take to answer."""

    kubernetes_namespace: Annotated[str, Field(min_length=1, max_length=63)] = "kube-system"
    """Where we run: the webhook's certificates and the leaders' leases are kept there."""

    mirror_writes_per_s: Annotated[float, Field(gt=0, le=1000)] = 20.0
    """Objects written at most, to show what the books hold."""

    mirror_interval_s: Seconds = 10.0
    """How often the books are compared with the objects that show them."""

    leader_term_s: Seconds = 15.0
    """How long another replica waits before it shows the books in a silent one's place."""
