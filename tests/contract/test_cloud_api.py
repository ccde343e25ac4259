"""One suite for every adapter of the cloud: in memory, and the real SDK on the simulator."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import aiohttp.web
import pytest

from services.eni_manager.adapters.memory_cloud import MemoryCloud
from services.eni_manager.adapters.pace import Unpaced
from services.eni_manager.adapters.tencent import TencentCloud
from services.eni_manager.adapters.tencent_access import TencentAccess
from services.eni_manager.domain.errands import under_right
from shared.cloud.errors import (
    CloudAway,
    CloudDenied,
    CloudLimit,
    CloudNotFound,
    CloudSubnetFull,
    CloudTaken,
)
from shared.cloud.port import CloudApi
from shared.cloud.words import (
    AddressPhase,
    Eni,
    EniQuota,
    EniState,
    Instance,
    InstanceState,
    NewEni,
    Subnet,
)
from shared.errors import Stale
from shared.ids import EniId, InstanceId, SubnetId, VpcId, Zone
from tests.support.eni_world import eventually
from tests.support.simulated_cloud import REGION, SECRET_ID, SECRET_KEY, simulated_cloud

VPC = VpcId("vpc-one")
SUBNET = SubnetId("subnet-a")
SMALL = SubnetId("subnet-small")
ONE, TWO = InstanceId("ins-one"), InstanceId("ins-two")
STRANGERS = IPv4Address("10.0.1.250")


def subnet(name: str, cidr: str, zone: str) -> Subnet:
    network = IPv4Network(cidr)
    return Subnet(
        subnet=SubnetId(name),
        vpc=VPC,
        zone=Zone(zone),
        cidr=network,
        free=0,
        total=network.num_addresses - 3,
    )


def instance(name: str, zone: str) -> tuple[Instance, EniQuota]:
    machine = Instance(
        instance=InstanceId(name), vpc=VPC, zone=Zone(zone), state=InstanceState.RUNNING
    )
    return machine, EniQuota(enis=2, addresses_per_eni=6)


@pytest.fixture
def memory() -> CloudApi:
    return MemoryCloud(
        [
            subnet("subnet-a", "10.0.1.0/24", "zone-1"),
            subnet("subnet-small", "10.0.2.0/29", "zone-1"),
        ],
        [
            instance("ins-one", "zone-1"),
            instance("ins-two", "zone-1"),
            instance("ins-far", "zone-2"),
        ],
        {STRANGERS: "CLB"},
    )


def access(url: str, *, secret_key: str = SECRET_KEY) -> TencentAccess:
    return TencentAccess(
        secret_id=SECRET_ID,
        secret_key=secret_key,
        region=REGION,
        protocol="http",
        endpoint=url.removeprefix("http://"),
        timeout_s=5.0,
    )


def with_stranger(topology: dict[str, object]) -> None:
    topology["foreign_addresses"] = [
        {"subnet": SUBNET, "address": str(STRANGERS), "type": "CLB"}
    ]
    topology["limits"] = {}


@pytest.fixture
async def tencent(tmp_path: Path) -> AsyncIterator[CloudApi]:
    async with simulated_cloud(tmp_path, with_stranger) as simulated:
        cloud = TencentCloud(access(simulated.url), Unpaced())
        yield cloud
        await cloud.aclose()


@pytest.fixture(params=["memory", "tencent"])
def cloud(request: pytest.FixtureRequest) -> CloudApi:
    found: CloudApi = request.getfixturevalue(request.param)
    return found


def new_eni(*, count: int = 0, in_subnet: SubnetId = SUBNET, token: str = "t-1") -> NewEni:
    return NewEni(
        vpc=VPC,
        subnet=in_subnet,
        name="berth-node-1",
        secondary_count=count,
        security_groups=(),
        tags={"berth-cluster": "tests", "berth-intent": token},
        token=token,
    )


async def settled(cloud: CloudApi, eni: EniId, is_so: Callable[[Eni], bool]) -> Eni:
    found: list[Eni] = []

    async def look() -> bool:
        found[:] = [each for each in await cloud.describe_enis([eni]) if each.is_settled]
        return bool(found) and is_so(found[0])

    await eventually(look)
    return found[0]


async def made(cloud: CloudApi, *, count: int = 0, token: str = "t-1") -> Eni:
    eni = (await cloud.create_eni(new_eni(count=count, token=token))).eni
    return await settled(cloud, eni, lambda _: True)


async def attached(
    cloud: CloudApi, instance: InstanceId = ONE, *, count: int = 0, token: str = "t-1"
) -> Eni:
    eni = (await made(cloud, count=count, token=token)).eni
    await cloud.attach_eni(eni, instance, token=f"{token}-attach")
    return await settled(cloud, eni, lambda it: it.is_ready_on(instance))


async def test_an_eni_is_made_with_its_addresses_and_tags(cloud: CloudApi) -> None:
    eni = await made(cloud, count=3)

    assert len(eni.secondary) == 3
    assert eni.primary_address not in [each.address for each in eni.secondary]
    assert eni.tags["berth-cluster"] == "tests"
    assert eni.mac == eni.mac.lower()
    assert (eni.instance, eni.is_primary) == (None, False)


async def test_creating_again_under_the_same_token_makes_no_second_eni(cloud: CloudApi) -> None:
    first = await cloud.create_eni(new_eni())
    again = await cloud.create_eni(new_eni())

    assert again.eni == first.eni
    assert len(await cloud.find_enis_tagged({"berth-cluster": "tests"})) == 1


async def test_an_attached_eni_is_found_on_its_instance(cloud: CloudApi) -> None:
    eni = await attached(cloud)

    assert eni.eni in [each.eni for each in await cloud.find_enis_on([ONE])]
    assert eni.eni not in [each.eni for each in await cloud.find_enis_on([TWO])]


async def test_an_eni_beyond_the_instances_quota_is_a_limit(cloud: CloudApi) -> None:
    await attached(cloud)
    second = await made(cloud, token="t-2")

    with pytest.raises(CloudLimit):
        await cloud.attach_eni(second.eni, ONE, token="t-2-attach")


async def test_attaching_what_is_attached_is_told_as_taken(cloud: CloudApi) -> None:
    eni = await attached(cloud)

    with pytest.raises(CloudTaken):
        await cloud.attach_eni(eni.eni, ONE, token="another-token")


async def test_an_eni_of_another_zone_is_denied(cloud: CloudApi) -> None:
    eni = await made(cloud)

    with pytest.raises(CloudDenied, match="ZoneMismatch"):
        await cloud.attach_eni(eni.eni, InstanceId("ins-far"), token="t-attach")


async def test_assigning_by_count_again_under_the_same_token_gives_the_same(
    cloud: CloudApi,
) -> None:
    eni = await attached(cloud)

    first = await cloud.assign_count(eni.eni, 2, token="t-assign")
    await settled(cloud, eni.eni, lambda it: len(it.secondary) == 2)
    again = await cloud.assign_count(eni.eni, 2, token="t-assign")

    assert again == first
    found = await settled(cloud, eni.eni, lambda _: True)
    assert sorted(each.address for each in found.secondary) == sorted(first)


async def test_more_addresses_than_the_eni_may_have_is_a_limit(cloud: CloudApi) -> None:
    eni = await attached(cloud, count=5)

    with pytest.raises(CloudLimit):
        await cloud.assign_count(eni.eni, 1, token="t-assign")


async def test_a_subnet_without_a_free_address_is_full(cloud: CloudApi) -> None:
    with pytest.raises(CloudSubnetFull):
        await cloud.create_eni(new_eni(count=5, in_subnet=SMALL))


async def test_the_free_addresses_of_a_subnet_fall_with_what_is_taken(cloud: CloudApi) -> None:
    [before] = await cloud.describe_subnets([SUBNET])

    await made(cloud, count=3)

    [after] = await cloud.describe_subnets([SUBNET])
    assert before.free - after.free == 4


async def test_a_named_address_is_assigned_and_found(cloud: CloudApi) -> None:
    eni = await attached(cloud)
    address = IPv4Address("10.0.1.77")

    await cloud.assign_address(eni.eni, address, token="t-assign")
    await settled(cloud, eni.eni, lambda it: it.phase_of(address) is AddressPhase.AVAILABLE)

    found = await cloud.find_eni_of(VPC, address)
    assert found is not None
    assert found.eni == eni.eni
    used = await cloud.find_used(VPC, address)
    assert used is not None


async def test_an_address_that_only_ends_alike_is_not_found(cloud: CloudApi) -> None:
    eni = await attached(cloud)
    await cloud.assign_address(eni.eni, IPv4Address("10.0.1.77"), token="t-assign")

    assert await cloud.find_eni_of(VPC, IPv4Address("0.0.1.77")) is None


async def test_a_strangers_address_is_taken_and_its_kind_is_told(cloud: CloudApi) -> None:
    eni = await attached(cloud)

    with pytest.raises(CloudTaken):
        await cloud.assign_address(eni.eni, STRANGERS, token="t-assign")

    used = await cloud.find_used(VPC, STRANGERS)
    assert used is not None
    assert used.kind == "CLB"


async def test_an_unassigned_address_is_free_again(cloud: CloudApi) -> None:
    eni = await attached(cloud, count=2)
    address = eni.secondary[0].address

    await cloud.unassign(eni.eni, [address])
    await settled(cloud, eni.eni, lambda it: it.phase_of(address) is None)

    assert await cloud.find_used(VPC, address) is None


async def test_unassigning_what_is_not_there_is_not_found(cloud: CloudApi) -> None:
    eni = await attached(cloud)

    with pytest.raises(CloudNotFound):
        await cloud.unassign(eni.eni, [IPv4Address("10.0.1.99")])


async def test_an_address_migrates_to_the_other_instances_eni(cloud: CloudApi) -> None:
    source = await attached(cloud, ONE, count=1, token="t-1")
    destination = await attached(cloud, TWO, token="t-2")
    address = source.secondary[0].address

    await cloud.migrate(source.eni, destination.eni, address)

    await settled(
        cloud, destination.eni, lambda it: it.phase_of(address) is AddressPhase.AVAILABLE
    )
    left = await settled(cloud, source.eni, lambda _: True)
    assert left.phase_of(address) is None


async def test_migrating_what_the_source_does_not_have_is_not_found(cloud: CloudApi) -> None:
    source = await attached(cloud, ONE, token="t-1")
    destination = await attached(cloud, TWO, token="t-2")

    with pytest.raises(CloudNotFound):
        await cloud.migrate(source.eni, destination.eni, IPv4Address("10.0.1.99"))


async def test_a_detached_eni_can_be_deleted_and_an_attached_one_cannot(
    cloud: CloudApi,
) -> None:
    eni = await attached(cloud)
    with pytest.raises(CloudTaken):
        await cloud.delete_eni(eni.eni)

    await cloud.detach_eni(eni.eni, ONE, token="t-detach")
    await settled(cloud, eni.eni, lambda it: it.instance is None)
    await cloud.delete_eni(eni.eni)

    async def is_gone() -> bool:
        return not await cloud.describe_enis([eni.eni])

    await eventually(is_gone)
    with pytest.raises(CloudNotFound):
        await cloud.delete_eni(eni.eni)


async def test_an_instance_has_its_zone_and_its_quota(cloud: CloudApi) -> None:
    [found] = await cloud.describe_instances([ONE])
    quota = await cloud.describe_quota(ONE)

    assert (found.zone, found.takes_enis) == ("zone-1", True)
    assert (quota.secondary_enis, quota.secondary_addresses_per_eni) == (1, 5)


async def test_an_instance_that_does_not_exist_is_left_out(cloud: CloudApi) -> None:
    found = await cloud.describe_instances([ONE, InstanceId("ins-none0000"), TWO])

    assert {each.instance for each in found} == {ONE, TWO}


async def test_what_does_not_exist_is_left_out(cloud: CloudApi) -> None:
    eni = await made(cloud)

    found = await cloud.describe_enis([eni.eni, EniId("eni-none0000")])
    subnets = await cloud.describe_subnets([SUBNET, SubnetId("subnet-none")])

    assert [each.eni for each in found] == [eni.eni]
    assert [each.subnet for each in subnets] == [SUBNET]
    assert found[0].state is EniState.AVAILABLE


async def test_a_wrong_key_is_denied_and_never_shown(tmp_path: Path) -> None:
    async with simulated_cloud(tmp_path) as simulated:
        key = f"wrong-{random.Random(1).getrandbits(32)}"
        cloud = TencentCloud(access(simulated.url, secret_key=key), Unpaced())

        with pytest.raises(CloudDenied, match=r"AuthFailure\.SignatureFailure") as refused:
            await cloud.describe_subnets([SUBNET])

        await cloud.aclose()
        assert key not in str(refused.value)
        assert key not in repr(access(simulated.url, secret_key=key))


async def test_an_answer_of_another_content_type_is_no_answer() -> None:
    async def error_in_disguise(request: aiohttp.web.Request) -> aiohttp.web.Response:
        body: dict[str, Any] = {
            "Response": {"Error": {"Code": "InternalError", "Message": ""}, "RequestId": "r"}
        }
        return aiohttp.web.json_response(body)  # application/json; charset=utf-8

    app = aiohttp.web.Application()
    app.router.add_post("/", error_in_disguise)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    cloud = TencentCloud(access(f"http://{host}:{port}"), Unpaced())

    with pytest.raises(CloudAway, match="want application/json"):
        await cloud.describe_subnets([SUBNET])

    await cloud.aclose()
    await runner.cleanup()


async def test_an_endpoint_that_does_not_answer_is_away() -> None:
    cloud = TencentCloud(access("http://127.0.0.1:1"), Unpaced())

    with pytest.raises(CloudAway):
        await cloud.describe_subnets([SUBNET])

    await cloud.aclose()


async def test_a_call_that_lost_its_right_after_it_was_signed_is_not_sent(
    tmp_path: Path,
) -> None:
    def lost() -> None:
        raise Stale("term 7 of shard 0 has ended")

    async with simulated_cloud(tmp_path) as simulated:
        cloud = TencentCloud(access(simulated.url), Unpaced())

        with pytest.raises(Stale, match="term 7"), under_right(lost):
            await cloud.create_eni(new_eni())

        assert await cloud.find_enis_tagged({"berth-cluster": "tests"}) == []
        await cloud.aclose()


async def test_every_used_address_of_a_subnet_is_told_with_what_has_it(cloud: CloudApi) -> None:
    eni = await made(cloud, count=2)

    used = await cloud.find_used_in(VPC, SUBNET)

    on_eni = {each.address for each in used if each.resource == eni.eni}
    assert on_eni == {each.address for each in eni.addresses}
    [stranger] = [each for each in used if each.address == STRANGERS]
    assert stranger.kind == "CLB"


async def test_security_groups_are_added_and_removed_by_name(cloud: CloudApi) -> None:
    eni = await attached(cloud)
    one, two = "sg-one00001", "sg-two00002"

    await cloud.associate_groups([eni.eni], [one])
    await cloud.associate_groups([eni.eni], [one, two])
    [both] = await cloud.describe_enis([eni.eni])
    await cloud.disassociate_groups([eni.eni], [one])
    [left] = await cloud.describe_enis([eni.eni])

    assert set(both.security_groups) == {one, two}
    assert left.security_groups == (two,)


TAGS = {"berth-cluster": "tests"}


async def test_an_address_is_kept_while_an_eni_has_it_and_after_that(cloud: CloudApi) -> None:
    eni = await attached(cloud, count=1)
    [address] = [each.address for each in eni.secondary]

    await cloud.reserve(VPC, SUBNET, address, tags=TAGS, token="keep")
    await cloud.reserve(VPC, SUBNET, address, tags=TAGS, token="keep")
    [used] = await cloud.find_reserved(TAGS, address)
    with pytest.raises(CloudTaken):
        await cloud.release_reserved(used)
    await cloud.unassign(eni.eni, [address])
    await settled(cloud, eni.eni, lambda it: it.phase_of(address) is None)
    [idle] = await cloud.find_reserved(TAGS)

    assert (used.address, used.is_used, idle.is_used) == (address, True, False)
    assert idle.reservation == used.reservation
    with pytest.raises(CloudTaken):
        await cloud.reserve(VPC, SUBNET, address, tags=TAGS, token="again")
    await cloud.assign_address(eni.eni, address, token="back")
    back = await settled(cloud, eni.eni, lambda it: it.phase_of(address) is not None)
    assert back.phase_of(address) is AddressPhase.AVAILABLE


async def test_what_is_kept_no_more_is_free(cloud: CloudApi) -> None:
    eni = await attached(cloud, count=1)
    [address] = [each.address for each in eni.secondary]
    await cloud.reserve(VPC, SUBNET, address, tags=TAGS, token="keep")
    await cloud.unassign(eni.eni, [address])
    await settled(cloud, eni.eni, lambda it: it.phase_of(address) is None)
    [kept] = await cloud.find_reserved(TAGS)
    [before] = await cloud.describe_subnets([SUBNET])

    await cloud.release_reserved(kept)

    [after] = await cloud.describe_subnets([SUBNET])
    assert await cloud.find_reserved(TAGS) == []
    assert after.free == before.free + 1
    with pytest.raises(CloudNotFound):
        await cloud.release_reserved(kept)


async def test_what_is_kept_under_other_tags_is_not_ours(cloud: CloudApi) -> None:
    [subnet] = await cloud.describe_subnets([SUBNET])
    address = subnet.cidr.network_address + 77
    await cloud.reserve(VPC, SUBNET, address, tags={"berth-cluster": "other"}, token="keep")

    assert await cloud.find_reserved(TAGS) == []
    with pytest.raises(CloudTaken):
        await cloud.reserve(VPC, SUBNET, STRANGERS, tags=TAGS, token="theirs")
