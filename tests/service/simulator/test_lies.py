"""A cloud that says what is not so, on demand; what is stays as it is."""

from __future__ import annotations

import pytest

from tests.support.simulated_cloud import SimulatedCloud

LOOK = "DescribeNetworkInterfaces"


async def lie(cloud: SimulatedCloud, kind: str, action: str = LOOK) -> tuple[int, str]:
    status, told = await cloud.admin("POST", "faults", {"action": action, "kind": kind})
    return status, str(told)


async def assign(cloud: SimulatedCloud, eni: str, *addresses: str) -> object:
    return await cloud.call(
        "AssignPrivateIpAddresses",
        NetworkInterfaceId=eni,
        PrivateIpAddresses=[{"PrivateIpAddress": each} for each in addresses],
    )


async def enis(cloud: SimulatedCloud) -> list[str]:
    """Secondary ones, as they are shown."""
    filters = [{"Name": "is-primary", "Values": ["false"]}]
    found = await cloud.call(LOOK, Filters=filters)
    return [each.NetworkInterfaceId for each in found.NetworkInterfaceSet]  # type: ignore[attr-defined]


async def phase(cloud: SimulatedCloud, eni: str) -> str:
    found = await cloud.call(LOOK, NetworkInterfaceIds=[eni])
    [shown] = found.NetworkInterfaceSet  # type: ignore[attr-defined]
    [address] = [each for each in shown.PrivateIpAddressSet if not each.Primary]
    return str(address.State)


async def test_a_stale_look_shows_what_was_when_the_fault_was_asked_for(
    cloud: SimulatedCloud,
) -> None:
    eni = await cloud.attached()
    await lie(cloud, "stale")
    await cloud.settled(await assign(cloud, eni, "10.0.1.50"))

    assert await cloud.addresses(eni) == []
    assert await cloud.addresses(eni) == ["10.0.1.50"]


async def test_a_premature_look_shows_as_done_what_is_under_way(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached()
    stuck = {"action": "AssignPrivateIpAddresses", "kind": "stuck", "hold_ms": 60_000}
    await cloud.admin("POST", "faults", stuck)
    await assign(cloud, eni, "10.0.1.50")
    await lie(cloud, "premature")

    assert await phase(cloud, eni) == "AVAILABLE"
    assert await phase(cloud, eni) == "PENDING"


async def test_a_look_with_gaps_misses_enis_and_addresses(cloud: SimulatedCloud) -> None:
    one, other = await cloud.attached(), await cloud.attached("ins-two")
    await cloud.settled(await assign(cloud, one, "10.0.1.50", "10.0.1.51"))
    for _ in range(2):
        await lie(cloud, "gaps")

    assert await enis(cloud) == [one]
    assert await cloud.addresses(one) == ["10.0.1.51"]
    assert await enis(cloud) == [one, other]
    assert await cloud.addresses(one) == ["10.0.1.50", "10.0.1.51"]


@pytest.mark.parametrize("kind", ["stale", "premature", "gaps"])
async def test_only_looks_are_lied_to(cloud: SimulatedCloud, kind: str) -> None:
    status, told = await lie(cloud, kind, "AttachNetworkInterface")

    assert status == 400
    assert "AttachNetworkInterface" in told
    assert "DescribeInstances" in told


async def test_a_change_is_judged_by_what_is_so(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached()
    await lie(cloud, "stale")
    await cloud.settled(await assign(cloud, eni, "10.0.1.50"))

    refused = await cloud.refusal(
        "AssignPrivateIpAddresses",
        NetworkInterfaceId=eni,
        PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.50"}],
    )

    assert refused == "ResourceInUse"
    assert await cloud.addresses(eni) == []
