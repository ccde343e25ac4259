"""A backup's file is whole and unchanged, or refused with its line and the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from berth.backup_file import read_backup, write_backup
from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.clusters import Cluster, ContainerSubnet, Operation, Progress, Verb
from shared.errors import Refused
from shared.ids import SubnetId
from shared.messages.base import IdentityFields
from shared.messages.recovery import BackedUpLease

AT = datetime(2026, 1, 1, tzinfo=UTC)
GOLDEN = Path(__file__).with_name("backup_v1.jsonl")


def lease(number: int) -> BackedUpLease:
    return BackedUpLease(
        identity=IdentityFields(namespace="default", name=f"web-{number}", network="berth"),
        address=IPv4Address("10.0.0.10") + number,
        state=AddressState.RETAINED,
        generation=number + 1,
        subnet="subnet-a",
        node="node-1",
        eni="eni-1",
        since=AT,
        expires_after=timedelta(minutes=30),
    )


def written(path: Path) -> Path:
    leases = [lease(number) for number in range(3)]
    write_backup(path, leases, cluster="test", at=AT, release="1.0")
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    found = read_backup(written(tmp_path / "b"))

    assert found.header.cluster == "test"
    assert found.leases == [lease(number) for number in range(3)]
    assert [each.name for each in tmp_path.iterdir()] == ["b"], "nothing unfinished is left"
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0


def test_what_the_cluster_was_enabled_with_is_in_it(tmp_path: Path) -> None:
    settings = Cluster(
        revision=3,
        modes=(NetworkMode.SHARED,),
        has_fixed_ips=True,
        pods_max=30,
        subnets=(ContainerSubnet(subnet=SubnetId("subnet-a"), since=AT),),
        operation=Operation(
            verb=Verb.ENABLE,
            progress=Progress.SUCCEED,
            step="done",
            by="somebody",
            began_at=AT,
            changed_at=AT,
        ),
    )

    write_backup(tmp_path / "b", [], cluster="test", at=AT, release="1", settings=settings)

    assert read_backup(tmp_path / "b").header.settings == settings


def test_a_backup_of_the_first_version_is_read() -> None:
    found = read_backup(GOLDEN)

    assert [each.identity.name for each in found.leases] == ["web-0", "web-1"]


def _without_the_last_line(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def _without_a_lease(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:1] + lines[2:])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: "", "line 0: it ends before its last line"),
        (_without_the_last_line, "line 4: leases: .* is not allowed"),
        (_without_a_lease, "line 4: it tells of 3 leases, and there are 2"),
        (lambda text: text.replace("10.0.0.11", "10.0.0.99"), "line 5: .* were changed"),
        (lambda text: text.replace("10.0.0.11", "10.0.0"), "line 3: address: '10.0.0'"),
        (lambda text: text.replace('"version":1', '"version":2'), "line 1: version: 2 is not"),
        (lambda text: text.replace("berth-backup", "other"), "line 1: format: 'other' is not"),
        (
            lambda text: text.replace("retained", "stock"),
            "line 2: state: 'stock' is not",
        ),
        (lambda text: text.replace('{"identity"', '{"identity', 1), "line 2: not JSON"),
        (lambda text: "x" * 70_000 + "\n" + text, "line 1: longer than 65536 bytes"),
    ],
)
def test_a_damaged_file_is_refused_with_line_and_reason(
    tmp_path: Path, damage: Callable[[str], str], reason: str
) -> None:
    path = written(tmp_path / "b")
    path.write_text(damage(path.read_text()))

    with pytest.raises(Refused, match=reason):
        read_backup(path)


def test_an_address_that_two_leases_have_is_refused(tmp_path: Path) -> None:
    leases = [lease(0), lease(1), lease(0)]
    write_backup(tmp_path / "b", leases, cluster="test", at=AT, release="1.0")

    with pytest.raises(Refused, match=r"line 4: .* is in line 2 already"):
        read_backup(tmp_path / "b")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: No such file"):
        read_backup(tmp_path / "none")
