"""Installing on a node: three names, one list, modes, by rename, and gone again."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from services.node_agent.cni.install import install_plugin, uninstall, write_config_list
from services.node_agent.cni.request import SUPPORTED_VERSIONS
from tests.support.cni_calls import call_plugin

NAMES = ["berth-cni", "tke-direct-eni", "tke-route-eni"]


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "cni" / "bin"


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "cni" / "net.d"


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
