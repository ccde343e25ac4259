"""Namespaces are made, entered, pinned and freed; processes move into them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.kernel.conversation import Conversation
from shared.kernel.enter import enter_command
from shared.kernel.links import VethEnd, add_veth, link_by_name
from shared.kernel.netns import (
    in_netns,
    netns_inode,
    new_netns,
    open_netns,
    open_own_netns,
    pin,
    unpin,
)
from shared.kernel.sysctl import link_path, read_sysctl, write_sysctl
from tests.netns.conftest import MakeNetns

pytestmark = pytest.mark.kernel


def own_inode() -> int:
    fd = open_own_netns()
    try:
        return netns_inode(fd)
    finally:
        os.close(fd)


def test_entering_comes_back_even_when_the_block_fails(netns: int) -> None:
    home = own_inode()

    def fail_inside() -> None:
        with in_netns(netns):
            raise RuntimeError(str(own_inode()))

    with pytest.raises(RuntimeError, match=str(netns_inode(netns))):
        fail_inside()

    assert own_inode() == home


def test_a_pinned_namespace_is_found_by_its_path_until_it_is_unpinned(
    netns: int, tmp_path: Path
) -> None:
    path = tmp_path / "netns" / "pod"

    pin(netns, path)
    found = open_netns(path)
    same = netns_inode(found) == netns_inode(netns)
    os.close(found)
    unpin(path)
    unpin(path)

    assert same
    assert not path.exists()


def test_links_go_with_the_last_descriptor_of_their_namespace(
    conversation: Conversation,
) -> None:
    pod = new_netns()
    conversation.do(
        [add_veth(VethEnd(name="host0"), VethEnd(name="eth0", netns=pod), mtu=1500)]
    )

    existed = link_by_name(conversation, "host0") is not None
    os.close(pod)

    assert existed
    _until_gone(conversation, "host0")


def _until_gone(conversation: Conversation, name: str) -> None:
    # The kernel frees namespaces in the background and tells nobody inside; dumps take turns
    # with it, so a bounded number of them is an upper limit on its work, not on time.
    for _ in range(20_000):
        if link_by_name(conversation, name) is None:
            return
    raise AssertionError(f"{name} is still there")


def test_sysctls_are_those_of_the_namespace(
    conversation: Conversation, netns: int, make_netns: MakeNetns
) -> None:
    conversation.do([add_veth(VethEnd(name="a.b"), VethEnd(name="peer"), mtu=1500)])
    path = link_path("a.b", "rp_filter")

    first = write_sysctl(path, "1", netns=netns)
    again = write_sysctl(path, "1", netns=netns)

    assert (first, again) == (True, False)
    assert read_sysctl(path, netns=netns) == "1"
    with pytest.raises(FileNotFoundError):
        read_sysctl(path, netns=make_netns())


def test_a_command_runs_inside_the_namespaces_of_a_process(netns: int) -> None:
    command = enter_command(
        os.getpid(), f"/proc/{os.getpid()}/fd/{netns}", ["readlink", "/proc/self/ns/net"]
    )

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"net:[{netns_inode(netns)}]"


def test_entering_a_process_that_is_gone_is_one_clear_line() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    done = subprocess.run(
        enter_command(gone.pid, None, ["true"]), capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"enter: namespaces of process {gone.pid}:")
    assert done.stderr.count("\n") == 1
