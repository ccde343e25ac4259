"""A configuration list is called as libcni calls it: in order, in reverse, results kept."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from berth.pods.conflist import NetworkList, first_conflist, read_network_list
from berth.pods.networks import PodNetworks, parse_result
from berth.pods.plugins import TIMED_OUT, Attachment, PluginFailed, ProgramCaller
from shared.errors import InvalidInput, Unavailable
from shared.ids import PodName, PodUid

ATTACHMENT = Attachment(
    container_id="c1",
    ifname="eth0",
    netns_path="/proc/self/ns/net",
    pod=PodName("default", "web-0"),
    pod_uid=PodUid("u1"),
)
PLUGIN = """\
#!{python} -IS
import json, os, sys
config = json.load(sys.stdin)
with open({calls!r}, "a") as calls:
    verb = os.environ["CNI_COMMAND"]
    line = {{"verb": verb, "environment": dict(os.environ), "config": config}}
    calls.write(json.dumps(line) + "\\n")
{body}
"""
ADDS_ITS_NAME = """\
if os.environ["CNI_COMMAND"] == "ADD":
    result = config.get("prevResult") or {"ips": [{"address": "10.0.0.7/32"}]}
    result["by"] = result.get("by", []) + [config["type"]]
    print(json.dumps(result))
"""


class Node:
    """Plugins made by the test, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()

    def plugin(self, name: str, body: str = ADDS_ITS_NAME) -> None:
        calls = str(self.folder / "calls")
        file = self.bin / name
        file.write_text(PLUGIN.format(python=sys.executable, calls=calls, body=body))
        file.chmod(0o755)

    def networks(self, *plugins: dict[str, Any], timeout_s: float = 10.0) -> PodNetworks:
        network = NetworkList(name="net", version="1.0.0", plugins=plugins)
        caller = ProgramCaller([self.bin], timeout_s=timeout_s, rng=random.Random(1))
        return PodNetworks(network, caller, self.folder / "kept")

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def order(self) -> list[str]:
        return [f"{call['verb']} {call['config']['type']}" for call in self.calls()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_add_goes_forward_and_delete_in_reverse(node: Node) -> None:
    node.plugin("one")
    node.plugin("two")
    networks = node.networks({"type": "one"}, {"type": "two"})

    await networks.add(ATTACHMENT)
    await networks.delete(ATTACHMENT)

    assert node.order() == ["ADD one", "ADD two", "DEL two", "DEL one"]


async def test_each_plugin_is_given_the_result_before_it_and_delete_the_last(
    node: Node,
) -> None:
    node.plugin("one")
    node.plugin("two")
    networks = node.networks({"type": "one"}, {"type": "two"})

    result = await networks.add(ATTACHMENT)
    await networks.delete(ATTACHMENT)

    previous = [call["config"].get("prevResult", {}).get("by") for call in node.calls()]
    assert previous == [None, ["one"], ["one", "two"], ["one", "two"]]
    assert str(result.address) == "10.0.0.7"


async def test_a_plugin_sees_its_own_keys_and_the_lists_name_and_version(node: Node) -> None:
    node.plugin("one")
    networks = node.networks({"type": "one", "mtu": 1400, "capabilities": {"ips": True}})

    await networks.add(ATTACHMENT)

    config = node.calls()[0]["config"]
    assert config == {"type": "one", "mtu": 1400, "name": "net", "cniVersion": "1.0.0"}


async def test_a_plugin_is_run_with_the_specifications_variables(node: Node) -> None:
    node.plugin("one")

    await node.networks({"type": "one"}).add(ATTACHMENT)

    environment = node.calls()[0]["environment"]
    assert environment["CNI_CONTAINERID"] == "c1"
    assert environment["CNI_IFNAME"] == "eth0"
    assert environment["CNI_PATH"] == str(node.bin)
    assert "K8S_POD_UID=u1" in environment["CNI_ARGS"].split(";")


async def test_add_stops_at_the_first_plugin_that_refuses(node: Node) -> None:
    node.plugin(
        "one", 'print(json.dumps({"code": 11, "msg": "busy", "details": "x"})); exit(1)'
    )
    node.plugin("two")

    with pytest.raises(PluginFailed, match=r"one ADD: busy: x \(CNI code 11\)") as failed:
        await node.networks({"type": "one"}, {"type": "two"}).add(ATTACHMENT)

    assert failed.value.is_transient
    assert node.order() == ["ADD one"]


async def test_a_delete_that_failed_can_be_repeated_with_what_was_kept(node: Node) -> None:
    node.plugin("one")
    networks = node.networks({"type": "one"})
    await networks.add(ATTACHMENT)
    node.plugin("one", "sys.exit('broken')")
    with pytest.raises(PluginFailed, match="exit status 1: broken"):
        await networks.delete(ATTACHMENT)
    node.plugin("one")

    await networks.delete(ATTACHMENT)

    assert node.calls()[-1]["config"]["prevResult"]["by"] == ["one"]


async def test_a_second_delete_carries_no_result_and_succeeds(node: Node) -> None:
    node.plugin("one")
    networks = node.networks({"type": "one"})
    await networks.add(ATTACHMENT)

    await networks.delete(ATTACHMENT)
    await networks.delete(ATTACHMENT)

    assert ["prevResult" in call["config"] for call in node.calls()] == [False, True, False]


async def test_delete_uses_the_configuration_that_add_was_called_with(node: Node) -> None:
    node.plugin("one")
    await node.networks({"type": "one", "mtu": 1400}).add(ATTACHMENT)

    await node.networks({"type": "one", "mtu": 9000}).delete(ATTACHMENT)

    assert node.calls()[-1]["config"]["mtu"] == 1400


async def test_a_plugin_beyond_its_time_is_killed_and_its_outcome_unknown(node: Node) -> None:
    node.plugin("one", "import time; time.sleep(60)")

    with pytest.raises(PluginFailed, match=r"no answer in 0\.5 s, so it was killed") as failed:
        await node.networks({"type": "one"}, timeout_s=0.5).add(ATTACHMENT)

    assert failed.value.cni_code == TIMED_OUT
    assert failed.value.is_transient


async def test_a_plugin_that_is_not_there_is_named(node: Node) -> None:
    with pytest.raises(PluginFailed, match="there is no such plugin in"):
        await node.networks({"type": "absent"}).add(ATTACHMENT)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "none was printed"),
        ({"ips": []}, "ips is empty"),
        ({"ips": [{"address": "ten"}]}, "ten"),
    ],
)
def test_a_result_without_an_address_is_refused(result: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_result(result, "eth0")


def conflist(folder: Path, **changes: object) -> Path:
    body = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "one"}], **changes}
    path = folder / "10-net.conflist"
    path.write_text(json.dumps(body))
    return path


def test_the_highest_version_that_both_know_is_spoken(tmp_path: Path) -> None:
    path = conflist(tmp_path, cniVersions=["0.4.0", "1.1.0", "9.0.0"])

    assert read_network_list(path).version == "1.1.0"


def test_the_first_list_by_name_is_the_nodes(tmp_path: Path) -> None:
    for name in ("20-b.conflist", "10-a.conflist", "05-a.conf"):
        (tmp_path / name).touch()

    assert first_conflist(tmp_path) == tmp_path / "10-a.conflist"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a/b"}, "name: 'a/b' is not allowed"),
        ({"cniVersion": "0.2.0"}, "cniVersion: '0.2.0' is not allowed; allowed: 0.3.1"),
        ({"plugins": []}, "plugins: List should have at least 1 item"),
        ({"plugins": [{"type": "../x"}]}, r"plugins\[0\].type: '../x' is not allowed"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_network_list(conflist(tmp_path, **changes))


def test_a_list_that_is_not_json_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "10-net.conflist"
    path.write_text("{")

    with pytest.raises(InvalidInput, match="not JSON"):
        read_network_list(path)
    with pytest.raises(Unavailable, match="cannot be read"):
        read_network_list(tmp_path / "none")
