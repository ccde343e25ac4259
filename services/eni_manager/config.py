"""Settings of the eni_manager: section ``eni_manager``, or BERTH_ENI_MANAGER_<SETTING>."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from services.eni_manager.domain.orphans import SweepMode
from services.eni_manager.kubernetes.settings import NodeObjectSettings
from shared.capacities import CapacityWish
from shared.errors import InvalidInput
from shared.settings import Seconds

# Calls per second of one account, as the API documents them.
DOCUMENTED_RATES_PER_S: Final = {
    "DescribeSubnets": 100.0,
    "DescribeNetworkInterfaces": 100.0,
    "DescribeNetworkInterfaceLimit": 20.0,
    "DescribeVpcPrivateIpAddresses": 20.0,
    "DescribeUsedIpAddress": 20.0,
    "DescribeInstances": 40.0,
    "CreateNetworkInterface": 100.0,
    "AttachNetworkInterface": 50.0,
    "DetachNetworkInterface": 100.0,
    "DeleteNetworkInterface": 100.0,
    "AssignPrivateIpAddresses": 100.0,
    "UnassignPrivateIpAddresses": 100.0,
    "MigratePrivateIpAddress": 50.0,
    "AssociateNetworkInterfaceSecurityGroups": 20.0,
    "DisassociateNetworkInterfaceSecurityGroups": 20.0,
    "CreateReserveIpAddresses": 20.0,  # these three by no page: as their neighbours
    "DescribeReserveIpAddresses": 20.0,
    "DeleteReserveIpAddresses": 20.0,
}

Count = Annotated[int, Field(ge=0, le=512)]


class EniManagerSettings(NodeObjectSettings):
    """What is not set has a default that suits a small cluster."""

    section: ClassVar[str] = "eni_manager"

    cloud_url: str | None = None
    """http://HOST:PORT or https://HOST of the cloud's API; none: the cloud's own addresses."""

    cloud_region: str = "ap-guangzhou"
    """The region of the VPC."""

    cloud_secret_id_file: Path | None = None
    """File (mode 0600) with the id of the key that signs calls."""

    cloud_secret_key_file: Path | None = None
    """File (mode 0600) with the key itself."""

    cloud_secret_id: SecretStr = SecretStr("")
    """The id, where no file is named; give it in the environment only."""

    cloud_secret_key: SecretStr = SecretStr("")
    """The key, where no file is named; give it in the environment only."""

    cloud_role: Annotated[str | None, Field(pattern=r"^[\w+=,.@-]{1,128}$")] = None
    """The role of the instance that this runs on: its keys are asked of the metadata service,
    and renewed; no key of yours is read then."""

    cloud_metadata_url: str = "http://169.254.0.23"
    """The instance metadata service, for `cloud_role`."""

    cloud_timeout_s: Seconds = 10.0
    """How long one call may take."""

    cloud_retry_s: Seconds = 15.0
    """How long one call is repeated while the cloud says "later"."""

    cloud_change_timeout_s: Seconds = 60.0
    """From a change's call to its being done; then the next round looks again."""

    cloud_follow_interval_s: Seconds = 0.1
    """Between two looks at the ENIs that are changing."""

    cloud_rates_per_s: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Calls per second by action, where the account's differ from the documented ones."""

    cloud_default_rate_per_s: Annotated[float, Field(gt=0)] = 20.0
    """Calls per second of an action that no rate is known of."""

    cloud_turn_wait_max_s: Seconds = 30.0
    """A call that would wait longer for its turn is given up."""

    cloud_in_flight_max_s: Seconds = 360.0
    """A signed call may still arrive so long after its owner ended: five minutes, and a minute
    by which clocks may differ."""

    instance_gone_after_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """A node leaves once the cloud has not shown its instance for so long, twice or more."""

    gone_cooling_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """What pods used on a node that was said to be gone rests so long before another has it."""

    sweep: SweepMode = SweepMode.ON
    """What becomes of ENIs that carry our tags and are in no book: off, dry_run (says what it
    would do) or on."""

    sweep_interval_s: Seconds = 60.0
    """Between two looks for such ENIs."""

    sweep_grace_s: Annotated[float, Field(ge=0, le=604_800)] = 600.0
    """An ENI that was seen to be an orphan is treated as one after so long."""

    quota_interval_s: Seconds = 600.0
    """An instance's quota is asked for this often, and at once after a call that it forbids."""

    vpc_quota_interval_s: Seconds = 10.0
    """Once the VPC has as many ENIs as its quota allows, another is asked for this often."""

    security_groups: tuple[str, ...] = ()
    """On the ENIs we make, kept so by difference; none: those of the instance's own ENI."""

    warm_addresses_min: Count = 3
    """Idle addresses that a node has ready beyond what its pods wait for."""

    warm_addresses_max: Count = 8
    """Idle addresses above this are taken back."""

    release_every_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """One idle address above the maximum is taken back in this time; 0 takes all at once."""

    empty_eni_rest_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """An ENI that has been empty for so long, and is not needed for the maximum, is removed."""
    warm_enis_min: Count = 0
    """Idle ENIs that a node has ready for pods with an ENI of their own, beyond those that
    wait. Each takes one of the instance's slots, so a node without such pods keeps none."""

    warm_enis_max: Count = 0
    """Idle ENIs above this are taken back and deleted."""

    round_interval_s: Seconds = 5.0
    """A node is looked after at least this often; its agent's word wakes it at once."""

    observe_interval_s: Seconds = 60.0
    """A node's ENIs are compared with the cloud at least this often."""

    cluster_interval_s: Seconds = 0.5
    """The cluster's record is read this often: subnets come and go within this time."""

    vacancies_interval_s: Seconds = 0.5
    """What nodes could still take is told this often, of those that changed."""

    foreign_interval_s: Seconds = 60.0
    """Addresses of the container subnets that are not ours are looked for this often."""

    subnets_interval_s: Seconds = 10.0
    """The subnets' free addresses are asked for this often."""

    first_look_wait_s: Seconds = 1.5
    """A node's first word is answered once its instance was looked at, or after this time."""

    shards: Annotated[int, Field(ge=1, le=256)] = 16
    """Parts into which nodes are split over the replicas."""

    term_ttl_s: Seconds = 5.0
    """The nodes of a replica that was killed are taken over after this time."""

    in_flight_max: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Requests served at once; more are told to try again."""

    @model_validator(mode="after")
    def _check(self) -> EniManagerSettings:
        if self.warm_addresses_min > self.warm_addresses_max:
            raise ValueError(
                f"warm_addresses_min {self.warm_addresses_min} is above warm_addresses_max"
                f" {self.warm_addresses_max}"
            )
        if self.warm_enis_min > self.warm_enis_max:
            raise ValueError(
                f"warm_enis_min {self.warm_enis_min} is above warm_enis_max"
                f" {self.warm_enis_max}"
            )
        if self.cloud_url is not None:
            address = urlsplit(self.cloud_url)
            has_path = address.path not in ("", "/") or address.query
            if address.scheme not in ("http", "https") or not address.hostname or has_path:
                raise ValueError(
                    f"cloud_url {self.cloud_url!r}: http://HOST:PORT or https://HOST is allowed"
                )
        return self

    def capacity(self) -> CapacityWish:
        """What counts where no operator has said anything."""
        return CapacityWish(
            warm_min=self.warm_addresses_min,
            warm_max=self.warm_addresses_max,
            release_every_s=self.release_every_s,
        )

    def rates_per_s(self) -> dict[str, float]:
        return DOCUMENTED_RATES_PER_S | self.cloud_rates_per_s

    def read_secrets(self) -> tuple[str, str]:
        """Id and key. Raises InvalidInput, which names the setting and never the value."""
        if self.cloud_role is not None:
            return "role", "role"  # until the role's own have come
        return (
            _secret("cloud_secret_id", self.cloud_secret_id_file, self.cloud_secret_id),
            _secret("cloud_secret_key", self.cloud_secret_key_file, self.cloud_secret_key),
        )


def _secret(name: str, file: Path | None, value: SecretStr) -> str:
    if file is None:
        found = value.get_secret_value()
        if not found:
            raise InvalidInput(f"{name}: is missing; set {name}_file")
        return found
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o037:  # a cluster gives a mounted Secret to the pod's group, to read
            allowed = "0600 or 0400, or 0440 for a group"
            raise InvalidInput.of(f"{name}_file {file}: mode", f"{mode:04o}", allowed)
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name}_file {file}: cannot be read: {error}") from error
