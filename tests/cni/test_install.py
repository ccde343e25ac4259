"""Installing on a node: three names, one list, modes, by rename, and gone again."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from berth.programs import base_environment, python_module
from services.node_agent.cni.install import (
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
    path = write_config_list(conf_dir, run_dir=Path("/run/berth"), pod_source="none")

    body = json.loads(path.read_text())
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("10-berth.conflist", 0o644)
    assert (body["cniVersion"], body["cniVersions"][-1]) == ("1.0.0", "1.1.0")
    assert body["plugins"] == [
        {"type": "berth-cni", "runDir": "/run/berth", "podSource": "none"}
    ]


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
    folders = ("--bin-dir", str(bin_dir), "--conf-dir", str(conf_dir))
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

    refused = berth("cni", "install", "--bin-dir", str(tmp_path / "file" / "bin"))

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"berth: {tmp_path}/file")
    assert refused.stderr.count("\n") == 1


def test_uninstalling_leaves_nothing_of_ours_and_all_of_others(
    build_plugin: dict[str, Path], bin_dir: Path, conf_dir: Path
) -> None:
    install_plugin(build_plugin["plain"], bin_dir)
    write_config_list(conf_dir, run_dir=Path("/run/berth"))
    (bin_dir / "loopback").touch()

    uninstall(bin_dir, conf_dir)
    again = uninstall(bin_dir, conf_dir)

    assert [path.name for path in bin_dir.iterdir()] == ["loopback"]
    assert (list(conf_dir.iterdir()), again) == ([], [])
