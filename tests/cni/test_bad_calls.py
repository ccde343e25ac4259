"""Everything a runtime or a person can get wrong: each has its code and names what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from services.node_agent.adapters.cni_socket import CniServer
from tests.support.cni_calls import Runtime, call_plugin
from tests.support.recorded_attachments import RecordedAttachments
from tests.support.spoiling import spoiled

BAD_VARIABLES: list[tuple[str, dict[str, str | None], str]] = [
    ("ADD", {"CNI_COMMAND": None}, "CNI_COMMAND"),
    ("ADD", {"CNI_COMMAND": "add"}, "CNI_COMMAND"),
    ("ADD", {"CNI_COMMAND": "UPDATE"}, "CNI_COMMAND"),
    ("ADD", {"CNI_CONTAINERID": None}, "CNI_CONTAINERID"),
    ("DEL", {"CNI_CONTAINERID": ""}, "CNI_CONTAINERID"),
    ("CHECK", {"CNI_CONTAINERID": "../../etc"}, "CNI_CONTAINERID"),
    ("ADD", {"CNI_CONTAINERID": "-x"}, "CNI_CONTAINERID"),
    ("ADD", {"CNI_CONTAINERID": "c0ffee\n"}, "CNI_CONTAINERID"),
    ("ADD", {"CNI_NETNS": None}, "CNI_NETNS"),
    ("CHECK", {"CNI_NETNS": ""}, "CNI_NETNS"),
    ("ADD", {"CNI_NETNS": "/var/run/netns/cni-gone"}, "CNI_NETNS"),
    ("ADD", {"CNI_NETNS": "/etc/hostname"}, "CNI_NETNS"),
    ("ADD", {"CNI_NETNS": "/proc/self/ns/mnt"}, "CNI_NETNS"),
    ("ADD", {"CNI_NETNS": "/"}, "CNI_NETNS"),
    ("ADD", {"CNI_IFNAME": None}, "CNI_IFNAME"),
    ("DEL", {"CNI_IFNAME": "sixteencharacter"}, "CNI_IFNAME"),
    ("ADD", {"CNI_IFNAME": ".."}, "CNI_IFNAME"),
    ("ADD", {"CNI_IFNAME": "eth/0"}, "CNI_IFNAME"),
    ("ADD", {"CNI_IFNAME": "eth 0"}, "CNI_IFNAME"),
    ("ADD", {"CNI_IFNAME": "eth:0"}, "CNI_IFNAME"),
    ("ADD", {"CNI_ARGS": "a\x01b"}, "CNI_ARGS"),
    ("ADD", {"CNI_ARGS": "A=" + "b" * 40_000}, "CNI_*"),
    ("ADD", {"CNI_ARGS": "K8S_POD_NAME"}, "CNI_ARGS"),
    ("ADD", {"CNI_ARGS": "COLOUR=blue"}, "COLOUR"),
    ("ADD", {"CNI_ARGS": "IgnoreUnknown=0;COLOUR=blue"}, "COLOUR"),
    ("ADD", {"CNI_ARGS": "K8S_POD_NAME=web-0"}, "K8S_POD_NAMESPACE"),
    ("ADD", {"CNI_ARGS": f"K8S_POD_NAMESPACE=a;K8S_POD_NAME={'b' * 254}"}, "K8S_POD_NAME"),
    ("GC", {"CNI_PATH": None}, "CNI_PATH"),
]


@pytest.mark.parametrize(("verb", "env", "named"), BAD_VARIABLES)
async def test_a_bad_variable_is_named_with_code_4(
    runtime: Runtime,
    server: CniServer,
    attachments: RecordedAttachments,
    verb: str,
    env: dict[str, str | None],
    named: str,
) -> None:
    called = await runtime.call(verb, env=env)

    assert (called.status, called.code) == (1, 4)
    assert named in called.result["msg"] + called.result["details"]
    assert attachments.adds == []


async def test_every_missing_variable_is_named_at_once(runtime: Runtime) -> None:
    called = await runtime.call(
        "ADD", env={"CNI_CONTAINERID": None, "CNI_IFNAME": None, "CNI_NETNS": None}
    )

    assert called.code == 4
    assert "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME" in called.result["msg"]


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
async def test_the_plugins_own_namespace_is_refused_with_code_8(
    runtime: Runtime, server: CniServer, verb: str
) -> None:
    called = await runtime.call(verb, env={"CNI_NETNS": "/proc/self/ns/net"}, prevResult={})

    assert (called.status, called.code) == (1, 8)


async def test_the_check_of_the_namespace_can_be_overridden(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    called = await runtime.call(
        "ADD", env={"CNI_NETNS": "/proc/self/ns/net", "CNI_NETNS_OVERRIDE": "1"}
    )

    assert called.status == 0
    assert attachments.netns_inodes == [os.stat("/proc/self/ns/net").st_ino]


async def test_a_late_del_whose_path_now_shows_our_own_namespace_succeeds(
    runtime: Runtime, server: CniServer
) -> None:
    called = await runtime.call("DEL", env={"CNI_NETNS": "/proc/self/ns/net"})

    assert (called.status, called.stdout) == (0, "")


NOT_JSON = [
    b"", b"{", b"[]", b"null", b'"text"', b"{} {}", b"{'name':1}", b'{"name":01}', b'{"a":+1}',
    b'{"a":1.}', b'{"a":.5}', b'{"a":1e}', b'{"a":NaN}', b'{"a":tru}', b'{"a":"\\x"}',
    b'{"a":"\\u12g4"}', b'{"a":"\n"}', b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf5\x80\x80\x80"}', b'{"a":"\xe2\x82"}', b'{"a" 1}',
    b'{"a":1,}',
    b'{"a":"\\ud800"}', b'{"a":"\\udc00"}', b'{"a":"\\ud800\\ud800"}',
    b'{,}', b'{1:2}', b'{"a":[1,]}', b'{"a":[1 2]}', b"\xef\xbb\xbf{}",
    b'{"a":' * 100 + b"1" + b"}" * 100, b'{"a":' + b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("stdin", NOT_JSON, ids=lambda stdin: repr(stdin[:24]))
async def test_what_is_no_json_object_is_refused_with_code_6(
    runtime: Runtime, stdin: bytes
) -> None:
    called = await runtime.call("ADD", stdin=stdin)

    assert (called.status, called.code) == (1, 6)


async def test_a_huge_configuration_is_refused_with_code_5(runtime: Runtime) -> None:
    called = await runtime.call("ADD", stdin=b" " * (512 * 1024 + 1))

    assert (called.status, called.code) == (1, 5)
    assert "512 KiB" in called.result["details"]


async def test_the_largest_configuration_allowed_reaches_the_agent(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    body = json.dumps(runtime.config()).encode()

    called = await runtime.call("ADD", stdin=body + b"\n" * (512 * 1024 - len(body)))

    assert called.status == 0, called
    assert len(attachments.adds) == 1


@pytest.mark.parametrize("closed", [0, 1])
async def test_a_closed_standard_stream_is_an_error_not_a_crash(
    runtime: Runtime, closed: int
) -> None:
    shell = f'exec "{runtime.plugin}" {"<" if closed == 0 else ">"}&-'
    env = runtime.env("VERSION" if closed else "ADD")

    called = await call_shell(shell, env)

    assert called == 1


async def call_shell(command: str, env: dict[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


BAD_CONFIGURATION: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"name": 7}, "name"),
    ({"name": "a/b"}, "name"),
    ({"name": "berth\x00x"}, "name"),
    ({"runDir": "relative"}, "runDir"),
    ({"runDir": ""}, "runDir"),
    ({"runDir": 5}, "runDir"),
    ({"runDir": "/" + "x" * 100}, "runDir"),
    ({"agentWaitSeconds": -1}, "agentWaitSeconds"),
    ({"agentWaitSeconds": "5"}, "agentWaitSeconds"),
    ({"timeoutSeconds": 0}, "timeoutSeconds"),
    ({"timeoutSeconds": 601}, "timeoutSeconds"),
    ({"statusGraceSeconds": 10**40}, "statusGraceSeconds"),
    ({"mode": "both"}, "mode"),
    ({"mode": "exclusive", "type": "tke-route-eni"}, "mode"),
    ({"podSource": "kubelet"}, "podSource"),
    ({"prevResult": "x"}, "prevResult"),
]


@pytest.mark.parametrize(("config", "named"), BAD_CONFIGURATION)
async def test_a_bad_configuration_names_its_key_with_code_7(
    runtime: Runtime,
    server: CniServer,
    attachments: RecordedAttachments,
    config: dict[str, Any],
    named: str,
) -> None:
    called = await runtime.call("ADD", stdin=json.dumps(runtime.config() | config).encode())

    assert (called.status, called.code) == (1, 7)
    assert named in called.result["details"]
    assert attachments.adds == []


@pytest.mark.parametrize(
    ("verb", "cni_version"),
    [
        ("ADD", ""),
        ("ADD", "0.1.0"),
        ("ADD", "0.2.0"),
        ("ADD", "1.2.0"),
        ("ADD", "2"),
        ("CHECK", "0.3.1"),
        ("STATUS", "1.0.0"),
        ("GC", "0.4.0"),
    ],
)
async def test_a_version_the_verb_does_not_know_is_refused_with_code_1(
    runtime: Runtime, verb: str, cni_version: str
) -> None:
    runtime.cni_version = cni_version

    called = await runtime.call(verb)

    assert (called.status, called.code) == (1, 1)
    assert "cniVersion" in called.result["details"]


async def test_keys_are_found_whatever_way_they_are_written(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    run_dir = json.dumps(str(runtime.run_dir))
    stdin = (
        '{ "nested": {"name": "wrong", "cniVersion": "9"}, "list": [{"runDir": "/x"}],\n'
        '"n\\u0061me": "berth", "cniVersion" :"1.0.0", "\\ud83d\\ude00": "\\u00e9",'
        f'"runDir": "/first", "runDir":{run_dir}, "type": "berth-cni", "x": -1.5e+3}}'
    )

    called = await runtime.call("DEL", stdin=stdin.encode())

    assert called.status == 0, called
    assert [str(key) for key in attachments.deleted] == ["berth/c0ffee/eth0"]


@pytest.mark.parametrize("seed", range(40))
async def test_a_spoiled_configuration_is_answered_never_crashed_on(
    build_plugin: dict[str, Path],
    run_dir: Path,
    netns: str,
    server: CniServer,
    seed: int,
) -> None:
    runtime = Runtime(plugin=build_plugin["sanitized"], run_dir=run_dir, netns=netns)
    stdin = spoiled(random.Random(seed), json.dumps(runtime.config(prevResult={})).encode())

    called = await runtime.call("CHECK", env={"BERTH_RUN_DIR": str(run_dir)}, stdin=stdin)

    assert called.stderr == ""
    assert called.status in (0, 1)
    if called.status:
        assert called.code in {1, 6, 7, 11, 102}


@pytest.mark.parametrize("seed", range(40))
async def test_a_spoiled_environment_is_answered_never_crashed_on(
    build_plugin: dict[str, Path], run_dir: Path, netns: str, server: CniServer, seed: int
) -> None:
    rng = random.Random(seed)
    runtime = Runtime(plugin=build_plugin["sanitized"], run_dir=run_dir, netns=netns)
    env = {name.encode(): value.encode() for name, value in runtime.env("ADD").items()}
    name = rng.choice(sorted(env))
    env[name] = spoiled(rng, env[name]).replace(b"\0", b"\x02")

    called = await call_plugin(runtime.plugin, env, json.dumps(runtime.config()).encode())

    assert "Sanitizer" not in called.stderr
    assert called.status in (0, 1)
    if called.status:
        assert called.code in {4, 8}
