"""Installing on a node: three names, one list, modes, by rename, and gone again."""

from __future__ import annotations

import json
import stat
import subprocess
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import pytest

from berth.programs import base_environment, python_module
from services.node_agent.cni.install import (
    install_drop_ins,
    install_plugin,
    other_networks,
    uninstall,
    write_config_list,
)
from services.node_agent.cni.request import SUPPORTED_VERSIONS
from shared.errors import Refused
from tests.support.cni_calls import call_plugin

NAMES = ["berth-cni", "tke-direct-eni", "tke-route-eni"]


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "cni" / "bin"


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "cni" / "net.d"


def berth(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*python_module("berth.main"), *arguments],
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


async def test_the_plugin_runs_under_each_of_its_names(
    build_plugin: dict[str, Path], bin_dir: Path
) -> None:
    installed = install_plugin(build_plugin["plain"], bin_dir)

    assert sorted(path.name for path in bin_dir.iterdir()) == NAMES
    for path in installed:
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        called = await call_plugin(path, {"CNI_COMMAND": "VERSION"}, b"{}")
        assert called.result["supportedVersions"] == list(SUPPORTED_VERSIONS)


def test_a_plugin_in_use_is_replaced_not_written_into(
    build_plugin: dict[str, Path], bin_dir: Path
) -> None:
    install_plugin(build_plugin["plain"], bin_dir)
    with (bin_dir / "berth-cni").open("rb") as in_use:
        old = in_use.read()

        install_plugin(build_plugin["sanitized"], bin_dir)

        in_use.seek(0)
        assert in_use.read() == old
    assert (bin_dir / "berth-cni").read_bytes() == build_plugin["sanitized"].read_bytes()


def test_the_list_is_for_old_runtimes_and_offers_new_ones_more(conf_dir: Path) -> None:
    path = write_config_list(
        conf_dir, run_dir=Path("/run/berth"), pod_source="none", timeout_s=25.0
    )

    body = json.loads(path.read_text())
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("10-berth.conflist", 0o644)
    assert (body["cniVersion"], body["cniVersions"][-1]) == ("1.0.0", "1.1.0")
    (plugin,) = body["plugins"]
    assert plugin == {
        "type": "berth-cni",
        "runDir": "/run/berth",
        "podSource": "none",
        "timeoutSeconds": 25.0,
    }


def test_multus_stays_the_first_and_is_never_shadowed(conf_dir: Path) -> None:
    conf_dir.mkdir(parents=True)
    multus = json.dumps({"cniVersion": "0.3.1", "name": "multus", "type": "multus"})
    (conf_dir / "00-multus.conf").write_text(multus)
    (conf_dir / "87-podman.conflist").write_text(json.dumps({"plugins": [{"type": "bridge"}]}))
    (conf_dir / "99-broken.conf").write_text("{")
    (conf_dir / "README").touch()

    write_config_list(conf_dir, run_dir=Path("/run/berth"))

    found = [(each.name, each.types) for each in other_networks(conf_dir)]
    assert found == [
        ("00-multus.conf", ("multus",)),
        ("87-podman.conflist", ("bridge",)),
        ("99-broken.conf", ()),
    ]
    (conf_dir / "00-multus.conf").rename(conf_dir / "70-multus.conf")
    with pytest.raises(Refused, match=r"70-multus\.conf: Multus would be shadowed"):
        write_config_list(conf_dir, run_dir=Path("/run/berth"))


def test_the_command_installs_and_removes_and_names_its_neighbours(
    bin_dir: Path, conf_dir: Path, tmp_path: Path
) -> None:
    folders = ["--bin-dir", str(bin_dir), "--conf-dir", str(conf_dir)]
    folders += ["--etc-dir", str(tmp_path / "no-etc")]
    conf_dir.mkdir(parents=True)
    (conf_dir / "00-multus.conf").write_text(json.dumps({"type": "multus"}))

    first = berth("cni", "install", *folders, "--agent-dir", str(tmp_path))
    listed = berth("cni", "install", *folders, "--list", "--json")
    gone = berth("cni", "uninstall", *folders)
    again = berth("cni", "uninstall", *folders)

    assert "00-multus.conf is Multus" in first.stdout
    assert "follows once the node agent serves" in first.stdout
    assert str(conf_dir / "10-berth.conflist") in json.loads(listed.stdout)["installed"]
    assert gone.stdout.count("removed") == 4
    assert "nothing of ours" in again.stdout
    assert [path.name for path in conf_dir.iterdir()] == ["00-multus.conf"]
    assert list(bin_dir.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    refused = berth(
        "cni",
        "install",
        "--bin-dir",
        str(tmp_path / "file" / "bin"),
        "--etc-dir",
        str(tmp_path),
    )

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"berth: {tmp_path}/file")
    assert refused.stderr.count("\n") == 1


def test_uninstalling_leaves_nothing_of_ours_and_all_of_others(
    build_plugin: dict[str, Path], bin_dir: Path, conf_dir: Path, tmp_path: Path
) -> None:
    install_plugin(build_plugin["plain"], bin_dir)
    write_config_list(conf_dir, run_dir=Path("/run/berth"))
    (bin_dir / "loopback").touch()

    uninstall(bin_dir, conf_dir, tmp_path)
    again = uninstall(bin_dir, conf_dir, tmp_path)

    assert [path.name for path in bin_dir.iterdir()] == ["loopback"]
    assert (list(conf_dir.iterdir()), again) == ([], [])


def test_the_machines_network_daemons_are_told_and_told_no_more(
    bin_dir: Path, conf_dir: Path, tmp_path: Path
) -> None:
    etc = tmp_path / "etc-of-machine"
    (etc / "systemd").mkdir(parents=True)
    (etc / "NetworkManager" / "conf.d").mkdir(parents=True)
    (etc / "NetworkManager" / "conf.d" / "99-other.conf").touch()

    installed = install_drop_ins(etc)

    assert {stat.S_IMODE(path.stat().st_mode) for path in installed} == {0o644}
    networkd = _sections(etc / "systemd" / "networkd.conf.d" / "10-berth.conf")
    assert networkd["Network"]["ManageForeignRoutingPolicyRules"] == "no"
    assert networkd["Network"]["ManageForeignRoutes"] == "no"
    links = _sections(etc / "systemd" / "network" / "00-berth.network")
    assert [fnmatch("eni0123456789a", name) for name in links["Match"]["Name"].split()] == [
        True,
        False,
    ]
    assert links["Link"]["Unmanaged"] == "yes"
    manager = _sections(etc / "NetworkManager" / "conf.d" / "10-berth.conf")
    matched = manager["device-berth"]["match-device"].split(";")
    assert fnmatch("interface-name:ene0123456789a", matched[1])
    assert not any(fnmatch("interface-name:eth1", each) for each in matched)
    assert manager["device-berth"]["managed"] == "0"

    uninstall(bin_dir, conf_dir, etc)

    assert [path.name for path in etc.rglob("*") if path.is_file()] == ["99-other.conf"]


def test_a_machine_without_these_daemons_gets_no_file(tmp_path: Path) -> None:
    assert install_drop_ins(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def _sections(path: Path) -> ConfigParser:
    parsed = ConfigParser()
    parsed.read(path)
    return parsed
