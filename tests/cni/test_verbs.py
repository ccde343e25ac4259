"""The plugin and the agent's socket together, verb by verb, as the CNI specification asks."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from services.node_agent.adapters.cni_socket import CniServer
from services.node_agent.domain.requests import PodsCutOff
from shared.annotations import NetworkMode
from shared.errors import (
    ERROR_BY_CODE,
    BerthError,
    ErrorCode,
    StockEmpty,
    SubnetFull,
    TryLater,
    WrongSubnet,
)
from shared.ids import AttachmentKey, PodName
from tests.support.cni_calls import Runtime
from tests.support.recorded_attachments import RecordedAttachments, refused

KEY = AttachmentKey("berth", "c0ffee", "eth0")
VALID = "cni.dev/valid-attachments"


def gc_config(runtime: Runtime, more: dict[str, object]) -> bytes:
    return json.dumps(runtime.config() | more).encode()


async def test_add_wires_the_pod_it_names_in_the_namespace_it_names(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    called = await runtime.call("ADD")

    assert called.status == 0, called
    add = attachments.adds[0]
    assert (add.key, add.pod, add.pod_uid) == (KEY, PodName("shop", "web-0"), "uid-1")
    assert (add.netns_path, add.mode, add.is_pod_known) == (runtime.netns, None, True)
    assert attachments.netns_inodes == [os.stat(runtime.netns).st_ino]


@pytest.mark.parametrize(
    ("cni_version", "says_ip_version", "says_mtu"),
    [
        ("0.3.1", True, False),
        ("0.4.0", True, False),
        ("1.0.0", False, False),
        ("1.1.0", False, True),
    ],
)
async def test_the_result_has_the_shape_of_the_version_asked_for(
    runtime: Runtime,
    server: CniServer,
    cni_version: str,
    says_ip_version: bool,
    says_mtu: bool,
) -> None:
    runtime.cni_version = cni_version

    result = (await runtime.call("ADD")).result

    mtu = {"mtu": 1500} if says_mtu else {}
    ip_version = {"version": "4"} if says_ip_version else {}
    assert result == {
        "cniVersion": cni_version,
        "interfaces": [
            {"name": "eni3f2a9c01b7d", "mac": "02:00:00:00:00:01"} | mtu,
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": runtime.netns} | mtu,
        ],
        "ips": [
            {"address": "10.0.3.17/32", "gateway": "169.254.1.1", "interface": 1} | ip_version
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        "dns": {},
    }


async def test_the_result_of_earlier_plugins_is_kept(
    runtime: Runtime, server: CniServer
) -> None:
    before = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "lo", "sandbox": runtime.netns}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "dns": {"nameservers": ["10.0.0.2"]},
    }

    result = (await runtime.call("ADD", prevResult=before)).result

    assert [each["name"] for each in result["interfaces"]] == ["lo", "eni3f2a9c01b7d", "eth0"]
    assert [each["interface"] for each in result["ips"]] == [0, 2]
    assert result["dns"] == {"nameservers": ["10.0.0.2"]}


async def test_a_repeated_add_gets_the_same_answer(runtime: Runtime, server: CniServer) -> None:
    first = await runtime.call("ADD")

    again = await runtime.call("ADD")

    assert (again.status, again.stdout) == (0, first.stdout)


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"mode": "shared"}, NetworkMode.SHARED),
        ({"mode": "exclusive"}, NetworkMode.EXCLUSIVE),
        ({"type": "tke-route-eni"}, NetworkMode.SHARED),
        ({"type": "tke-direct-eni"}, NetworkMode.EXCLUSIVE),
        ({}, None),
    ],
)
async def test_the_mode_comes_from_the_configuration_or_from_the_name_it_is_called_by(
    runtime: Runtime,
    server: CniServer,
    attachments: RecordedAttachments,
    config: dict[str, str],
    mode: NetworkMode | None,
) -> None:
    await runtime.call("ADD", stdin=json.dumps(runtime.config() | config).encode())

    assert [add.mode for add in attachments.adds] == [mode]


async def test_without_a_pod_source_no_pod_need_be_known(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    called = await runtime.call("ADD", env={"CNI_ARGS": None}, podSource="none")

    assert called.status == 0
    assert [(add.pod, add.is_pod_known) for add in attachments.adds] == [(None, False)]


@pytest.mark.parametrize("netns", [None, "", "/var/run/netns/cni-gone", "/etc/hostname"])
async def test_del_succeeds_any_number_of_times_with_or_without_its_namespace(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments, netns: str | None
) -> None:
    await runtime.call("ADD")

    called = [await runtime.call("DEL", env={"CNI_NETNS": netns}) for _ in range(3)]

    assert [(each.status, each.stdout) for each in called] == [(0, "")] * 3
    assert attachments.deleted == [KEY] * 3


async def test_del_does_not_fail_over_what_it_does_not_need(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    called = await runtime.call(
        "DEL", env={"CNI_ARGS": "nonsense"}, prevResult="nonsense", mode="nonsense"
    )

    assert called.status == 0, called
    assert attachments.deleted == [KEY]


async def test_check_looks_at_the_address_of_the_earlier_result(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    added = await runtime.call("ADD")

    called = await runtime.call("CHECK", prevResult=added.result)

    assert (called.status, called.stdout) == (0, "")
    assert [check.address for check in attachments.checks] == [attachments.wired[KEY].address]


async def test_check_fails_when_nothing_is_wired(runtime: Runtime, server: CniServer) -> None:
    added = await runtime.call("ADD")
    await runtime.call("DEL")

    called = await runtime.call("CHECK", prevResult=added.result)

    assert (called.status, called.code) == (1, 102)


async def test_check_without_the_earlier_result_is_refused(
    runtime: Runtime, server: CniServer
) -> None:
    called = await runtime.call("CHECK")

    assert called.code == 7
    assert "prevResult" in called.result["details"]


async def test_status_is_silent_while_adds_can_be_served(
    runtime: Runtime, server: CniServer
) -> None:
    called = await runtime.call("STATUS")

    assert (called.status, called.stdout) == (0, "")


async def test_status_says_50_when_adds_cannot_be_served(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.failure = StockEmpty("no idle address on this node")

    called = await runtime.call("STATUS")

    assert (called.status, called.code) == (1, 50)
    assert "no idle address" in called.result["details"]


async def test_status_says_51_when_pods_are_cut_off_too(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.failure = PodsCutOff("no ENI of this node carries pods")

    called = await runtime.call("STATUS")

    assert (called.status, called.code) == (1, 51)


async def test_gc_keeps_what_the_runtime_lists_and_removes_the_rest(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    await runtime.call("ADD")
    runtime.container_id = "decaf"
    await runtime.call("ADD")
    valid = [{"containerID": "c0ffee", "ifname": "eth0"}]

    called = await runtime.call("GC", stdin=gc_config(runtime, {VALID: valid}))

    assert (called.status, called.stdout) == (0, "")
    assert list(attachments.wired) == [KEY]


async def test_gc_with_an_empty_list_removes_everything(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    await runtime.call("ADD")

    called = await runtime.call("GC", stdin=gc_config(runtime, {VALID: []}))

    assert called.status == 0
    assert attachments.wired == {}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {VALID: None},
        {VALID: "all"},
        {VALID: [{"containerID": "c0ffee"}]},
        {VALID: [{"containerID": "../..", "ifname": "eth0"}]},
        {"cni.dev/attachments": []},
    ],
)
async def test_gc_without_a_proper_list_removes_nothing_and_says_so(
    runtime: Runtime,
    server: CniServer,
    attachments: RecordedAttachments,
    config: dict[str, object],
) -> None:
    await runtime.call("ADD")

    called = await runtime.call("GC", stdin=gc_config(runtime, config))

    assert (called.status, called.code) == (1, 7)
    assert "cni.dev/valid-attachments" in called.result["details"]
    assert list(attachments.wired) == [KEY]


@pytest.mark.parametrize("stdin", [b'{"cniVersion":"1.0.0"}', b"", b"not json"])
async def test_version_is_answered_without_an_agent(runtime: Runtime, stdin: bytes) -> None:
    called = await runtime.call("VERSION", stdin=stdin)

    assert called.status == 0
    assert called.result["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    assert called.result["cniVersion"] == ("1.0.0" if b"1.0.0" in stdin else "1.1.0")


async def test_a_person_who_starts_the_plugin_is_told_what_it_is(runtime: Runtime) -> None:
    called = await runtime.call(
        "VERSION", env={"CNI_COMMAND": None, "CNI_PATH": None}, stdin=b""
    )

    assert (called.status, called.stdout) == (0, "")
    assert "1.1.0" in called.stderr


@pytest.mark.parametrize("error", ERROR_BY_CODE.values(), ids=lambda error: error.code)
async def test_every_refusal_reaches_the_runtime_with_its_code_and_reason(
    runtime: Runtime,
    server: CniServer,
    attachments: RecordedAttachments,
    error: type[BerthError],
) -> None:
    attachments.failure = refused(error)

    called = await runtime.call("ADD")

    assert called.status == 1
    assert called.result["msg"] == error.code
    assert called.result["details"] == "because the test says so"
    assert called.result["cniVersion"] == "1.1.0"
    assert (called.code == 11) == issubclass(error, TryLater)


async def test_a_bug_in_the_agent_is_told_without_its_insides(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.failure = RuntimeError("secret inside")

    called = await runtime.call("ADD")

    assert (called.code, called.result["msg"]) == (100, ErrorCode.INTERNAL)
    assert "secret" not in called.stdout


async def test_concurrent_calls_are_served_side_by_side(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.gate.clear()
    calls = []
    for number in range(8):
        runtime.container_id = f"pod-{number}"
        calls.append(asyncio.create_task(runtime.call("ADD")))
        await attachments.entered.acquire()
    attachments.gate.set()

    called = await asyncio.gather(*calls)

    assert attachments.in_flight_peak == 8
    assert len({each.result["ips"][0]["address"] for each in called}) == 8


async def test_the_use_case_is_given_less_time_than_the_plugin_waits(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.failure = SubnetFull("none")
    await runtime.call("ADD", timeoutSeconds=600)
    await runtime.call("ADD", timeoutSeconds=1)

    long, short = (add.deadline for add in attachments.adds)

    assert 500 < (long - short).total_seconds() < 600


async def test_no_descriptor_stays_open_after_calls(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    await runtime.call("ADD")
    before = len(list(Path("/proc/self/fd").iterdir()))
    attachments.failure = WrongSubnet("no")

    for _ in range(5):
        await runtime.call("ADD")
        await runtime.call("DEL")

    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_an_add_whose_plugin_was_killed_leaves_nothing_wired(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.gate.clear()
    call = asyncio.create_task(runtime.call("ADD"))
    await attachments.entered.acquire()
    call.cancel()  # which kills the plugin
    await asyncio.wait([call])

    attachments.gate.set()
    async with asyncio.timeout(5):
        while not attachments.deleted:
            await attachments.entered.acquire()

    assert (attachments.wired, attachments.deleted) == ({}, [KEY])
    assert (await runtime.call("ADD")).status == 0
