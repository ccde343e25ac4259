"""A cloud that is stopped and started again is the same cloud, tasks under way included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InvalidInput
from tests.support.simulated_cloud import SimulatedCloud, simulated_cloud


async def shown(cloud: SimulatedCloud) -> dict[str, object]:
    return (await cloud.admin("GET", "state"))[1]


async def test_everything_comes_up_with_its_ids_and_addresses(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with simulated_cloud(tmp_path, state=state) as cloud:
        eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=2)
        [address, _] = await cloud.addresses(eni)
        made: Any = await cloud.call(
            "CreateReserveIpAddresses", VpcId="vpc-one", IpAddresses=[address]
        )
        eips: Any = await cloud.call("AllocateAddresses", ClientToken="t-1")
        await cloud.call("AssociateAddress", AddressId=eips.AddressSet[0], InstanceId="ins-one")
        await cloud.admin("POST", "instances/ins-two/stop")
        before = await shown(cloud)
        number = int(eips.TaskId)

    async with simulated_cloud(tmp_path, state=state) as cloud:
        after = await shown(cloud)
        repeated: Any = await cloud.call("AllocateAddresses", ClientToken="t-1")
        task: Any = await cloud.call("DescribeTaskResult", TaskId=number)
        new = await cloud.created()

    assert after == before
    assert made.ReserveIpAddressSet[0].ReserveIpId in str(after["subnets"])
    assert repeated.AddressSet == eips.AddressSet
    assert task.Result == "SUCCESS"
    assert new not in str(before)
    assert state.stat().st_mode & 0o777 == 0o600


ACTIONS: list[tuple[str, dict[str, object]]] = [
    (
        "CreateNetworkInterface",
        {"VpcId": "vpc-one", "SubnetId": "subnet-a", "NetworkInterfaceName": "new"},
    ),
    (
        "CreateAndAttachNetworkInterface",
        {
            "VpcId": "vpc-one",
            "SubnetId": "subnet-b",
            "NetworkInterfaceName": "new",
            "InstanceId": "ins-far",
        },
    ),
    ("AttachNetworkInterface", {"NetworkInterfaceId": "free", "InstanceId": "ins-two"}),
    ("DetachNetworkInterface", {"NetworkInterfaceId": "one", "InstanceId": "ins-one"}),
    ("DeleteNetworkInterface", {"NetworkInterfaceId": "free"}),
    (
        "MigrateNetworkInterface",
        {
            "NetworkInterfaceId": "one",
            "SourceInstanceId": "ins-one",
            "DestinationInstanceId": "ins-two",
        },
    ),
    (
        "AssignPrivateIpAddresses",
        {"NetworkInterfaceId": "one", "SecondaryPrivateIpAddressCount": 1},
    ),
    (
        "UnassignPrivateIpAddresses",
        {
            "NetworkInterfaceId": "one",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.77"}],
        },
    ),
    (
        "MigratePrivateIpAddress",
        {
            "SourceNetworkInterfaceId": "one",
            "DestinationNetworkInterfaceId": "free",
            "PrivateIpAddress": "10.0.1.77",
        },
    ),
    ("AllocateAddresses", {}),
    ("AssociateAddress", {"AddressId": "eip", "InstanceId": "ins-one"}),
    ("ReleaseAddresses", {"AddressIds": ["eip"]}),
]


@pytest.mark.parametrize(("action", "parameters"), ACTIONS, ids=[each[0] for each in ACTIONS])
async def test_a_task_under_way_goes_on_after_a_restart(
    tmp_path: Path, action: str, parameters: dict[str, object]
) -> None:
    state = tmp_path / "state.json"

    def parking(document: dict[str, object]) -> None:
        limits: dict[str, object] = dict(document["limits"])  # type: ignore[call-overload]
        document["limits"] = limits | {"migrates_to_detached_eni": True}

    async with simulated_cloud(tmp_path, parking, state=state) as cloud:
        eips: Any = await cloud.call("AllocateAddresses")
        await cloud.settled(eips)
        roles: dict[str, object] = {
            "one": await cloud.attached(
                "ins-one", PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.77"}]
            ),
            "free": await cloud.created(),
            "eip": eips.AddressSet[0],
        }
        filled = {
            name: roles.get(value, value) if isinstance(value, str) else value
            for name, value in parameters.items()
        }
        if "AddressIds" in filled:
            filled["AddressIds"] = [roles["eip"]]
        await cloud.admin(
            "POST", "faults", {"action": action, "kind": "stuck", "hold_ms": 600_000}
        )
        begun = await cloud.call(action, **filled)
        running = (await shown(cloud))["tasks_running"]

    async with simulated_cloud(tmp_path, parking, state=state) as cloud:
        outcome = await cloud.settled(begun)
        after = await shown(cloud)

    assert len(running) == 1  # type: ignore[arg-type]
    assert outcome == "SUCCESS"
    assert (after["tasks_running"], after["broken_rules"]) == ([], [])


async def test_an_operator_saves_while_it_runs(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with simulated_cloud(tmp_path, state=state) as cloud:
        eni = await cloud.created()
        status, _ = await cloud.admin("POST", "state/save")
        saved = json.loads(state.read_text(encoding="utf-8"))

    assert status == 200
    assert eni in [each["id"] for each in saved["enis"]]
    assert [each.name for each in tmp_path.glob(".state*")] == []


async def test_without_a_file_there_is_nothing_to_save_to(cloud: SimulatedCloud) -> None:
    status, answer = await cloud.admin("POST", "state/save")

    assert status == 400
    assert "--state" in str(answer["error"])


Change = Callable[[dict[str, Any]], object]

MISTAKES: list[tuple[Change, str]] = [
    (lambda d: d.update(schema_version=9), "schema_version"),
    (lambda d: d.update(colour="red"), "colour"),
    (lambda d: d.update(region="ap-other"), "region and VPC"),
    (lambda d: d["enis"].pop(), "in one book only"),
    (lambda d: d.update(names=[1, 2]), "fit together"),
]


@pytest.mark.parametrize(("change", "words"), MISTAKES, ids=[each[1] for each in MISTAKES])
async def test_a_file_that_is_no_state_is_refused_and_left_alone(
    tmp_path: Path, change: Change, words: str
) -> None:
    state = tmp_path / "state.json"
    async with simulated_cloud(tmp_path, state=state) as cloud:
        await cloud.created()
    document = json.loads(state.read_text(encoding="utf-8"))
    change(document)
    state.write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(InvalidInput, match=words):
        async with simulated_cloud(tmp_path, state=state):
            pass

    assert json.loads(state.read_text(encoding="utf-8")) == document
