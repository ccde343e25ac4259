"""The operators' door, the instances' own view, and health."""

from __future__ import annotations

import pytest

from tests.support.simulated_cloud import SimulatedCloud


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer "])
async def test_without_its_token_the_door_stays_shut(cloud: SimulatedCloud, token: str) -> None:
    headers = {"Authorization": token}

    async with cloud.http.get(f"{cloud.url}/admin/state", headers=headers) as answer:
        assert answer.status == 401
        assert "enis" not in await answer.json()


async def test_the_state_shows_the_whole_cloud(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)

    status, state = await cloud.admin("GET", "state")

    enis = {each["id"]: each for each in state["enis"]}  # type: ignore[attr-defined]
    assert status == 200
    assert enis[eni]["instance"] == "ins-one"
    assert len(enis[eni]["addresses"]) == 2
    assert state["broken_rules"] == []
    assert state["tasks_running"] == []


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("faults", {"action": "Nothing", "kind": "throttle"}, "CreateNetworkInterface"),
        ("faults", {"action": "DescribeSubnets", "kind": "fire"}, "throttle"),
        ("latency", {"calls": {"default": {"median_ms": -1}}}, "greater than or equal to 0"),
        ("latency", {"effects": {"actions": {"Nope": {"median_ms": 1}}}}, "Nope"),
        ("foreign-addresses", {"subnet": "subnet-a", "address": "x"}, "address"),
        ("instances/ins-one/explode", {}, "stop or start or terminate"),
    ],
)
async def test_bad_input_is_told_what_is_allowed(
    cloud: SimulatedCloud, path: str, body: dict[str, object], word: str
) -> None:
    status, answer = await cloud.admin("POST", path, body)

    assert status == 400
    assert word in str(answer["error"])


async def test_what_the_cloud_cannot_do_is_a_conflict_or_not_found(
    cloud: SimulatedCloud,
) -> None:
    taken = {"subnet": "subnet-a", "address": "10.0.1.2"}

    conflict, _ = await cloud.admin("POST", "foreign-addresses", taken)
    missing, _ = await cloud.admin("POST", "instances/ins-no/stop")

    assert (conflict, missing) == (409, 404)


async def test_a_latency_set_while_running_holds_tasks_back(cloud: SimulatedCloud) -> None:
    slow = {"actions": {"AttachNetworkInterface": {"median_ms": 600_000}}}
    eni = await cloud.created()
    await cloud.admin("POST", "latency", {"effects": slow})

    await cloud.call("AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId="ins-one")

    _, state = await cloud.admin("GET", "state")
    running = [each["resources"] for each in state["tasks_running"]]  # type: ignore[attr-defined]
    assert running == [[eni, "ins-one"]]


async def test_a_terminated_instance_leaves_its_secondary_eni_behind(
    cloud: SimulatedCloud,
) -> None:
    eni = await cloud.attached("ins-one")

    status, _ = await cloud.admin("POST", "instances/ins-one/terminate")

    _, state = await cloud.admin("GET", "state")
    enis = {each["id"]: each for each in state["enis"]}  # type: ignore[attr-defined]
    assert status == 200
    assert enis[eni]["instance"] is None
    assert len(enis) == 3
    assert await cloud.refusal(
        "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId="ins-one"
    ) == ("ResourceNotFound")


async def test_an_eni_can_be_lost_from_under_its_instance(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)

    status, _ = await cloud.admin("DELETE", f"enis/{eni}")
    again, _ = await cloud.admin("DELETE", f"enis/{eni}")

    _, state = await cloud.admin("GET", "state")
    assert (status, again) == (200, 404)
    assert eni not in str(state)
    assert state["broken_rules"] == []


async def read_metadata(cloud: SimulatedCloud, instance: str, path: str) -> str | None:
    url = f"{cloud.url}/metadata/{instance}/latest/meta-data/{path}"
    async with cloud.http.get(url) as answer:
        return await answer.text() if answer.status == 200 else None


async def test_an_instance_reads_its_own_enis(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    [secondary] = await cloud.addresses(eni)
    _, state = await cloud.admin("GET", "state")
    mac = next(each["mac"] for each in state["enis"] if each["id"] == eni)  # type: ignore[attr-defined]
    macs = "network/interfaces/macs"

    listed = await read_metadata(cloud, "ins-one", f"{macs}/")
    addresses = await read_metadata(cloud, "ins-one", f"{macs}/{mac}/local-ipv4s/")
    at = f"{macs}/{mac}/local-ipv4s/{secondary}"

    assert listed is not None
    assert f"{mac}/" in listed.splitlines()
    assert addresses is not None
    assert f"{secondary}/" in addresses.splitlines()
    assert await read_metadata(cloud, "ins-one", f"{at}/gateway") == "10.0.1.1"
    assert await read_metadata(cloud, "ins-one", f"{at}/subnet-mask") == "255.255.255.0"
    assert await read_metadata(cloud, "ins-one", "instance-id") == "ins-one"
    assert await read_metadata(cloud, "ins-two", f"{macs}/{mac}/mac") is None


@pytest.mark.parametrize("path", ["nothing", "instance-id/deeper"])
async def test_what_an_instance_has_not_is_not_found(cloud: SimulatedCloud, path: str) -> None:
    assert await read_metadata(cloud, "ins-one", path) is None
    assert await read_metadata(cloud, "ins-no", "instance-id") is None


async def test_a_stopped_instance_reads_nothing(cloud: SimulatedCloud) -> None:
    await cloud.admin("POST", "instances/ins-one/stop")

    assert await read_metadata(cloud, "ins-one", "instance-id") is None


async def test_health_is_open_to_all(cloud: SimulatedCloud) -> None:
    for path in ("livez", "readyz"):
        async with cloud.http.get(f"{cloud.url}/{path}") as answer:
            assert (answer.status, (await answer.text()).strip()) == (200, "ok")
