"""How each service is run: its module, its environment, and when it counts as ready.

Secrets travel in files only; the caller's own BERTH_* variables are not passed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from berth.playground.clusters import WatchedStores
from berth.playground.keys import BusKey, CloudAccount, StorePassword
from berth.playground.ports import LOOPBACK, take_port
from berth.playground.probes import agent_ready, both, file_ready, http_ready
from berth.playground.processes import ProcessSpec
from berth.playground.state import NodeState
from berth.playground.topology import Topology
from berth.programs import base_environment, python_module
from shared.bus.client import BusClient
from shared.ids import ClusterName
from shared.store.permissions import StoreUser

_RELAYED_PORT: Final = 4222  # where an instance's relay listens; of further servers above it
CNI_CONFIGURATION: Final = "10-berth.conflist"
_MIRROR_INTERVAL_S: Final = 0.5  # what is shown of a playground is to be seen soon
_ADD_TIMEOUT_S: Final = 25.0  # the pods' runtime kills a plugin after 30


def _urls(ports: Iterable[int]) -> str:
    return ",".join(f"nats://{LOOPBACK}:{port}" for port in ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerDoor:
    """A Kubernetes API server that tells of pods and nodes, in place of folders."""

    address: str  # ADDRESS:PORT, on the host and, by a relay, in every instance
    kubeconfig: Path  # names that address
    namespace: str  # where Berth keeps its own objects there
    webhook_listen: str  # of the first allocator: ADDRESS:PORT
    webhook_service: str  # by which the API server finds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every child of one playground shares."""

    run_dir: Path
    cluster: ClusterName
    nats_ports: tuple[int, ...]  # of the bus' servers
    redis_port: int
    stores: WatchedStores | None = None  # behind sentinels, instead of the one at that port
    api_server: ApiServerDoor | None = None

    @property
    def logs(self) -> Path:
        return self.run_dir / "logs"

    def service(
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        settings: Mapping[str, object] | None = None,
        health_port: int | None = None,
    ) -> ProcessSpec:
        port = take_port(0, "health") if health_port is None else health_port
        folder = self.run_dir / "services" / name
        folder.mkdir(mode=0o700, parents=True)
        return ProcessSpec(
            name=name,
            argv=(*python_module(module), *arguments),
            environment=base_environment()
            | {
                "BERTH_CLUSTER": self.cluster,
                "BERTH_HEALTH_LISTEN": f"{LOOPBACK}:{port}",
                "BERTH_RUN_DIR": str(folder),
                "BERTH_STATE_DIR": str(folder),
            }
            | {key: str(value) for key, value in (settings or {}).items()},
            log_file=self.logs / f"{name}.log",
            is_ready=http_ready(port),
        )

    @property
    def nats_url(self) -> str:
        return _urls(self.nats_ports)

    @property
    def store_url(self) -> str:
        """For people: without a user."""
        if self.stores is not None:
            return self.stores.url()
        return f"redis://{LOOPBACK}:{self.redis_port}/0"

    @property
    def relayed_bus(self) -> str:
        """The bus as a node reaches it."""
        return _urls(_RELAYED_PORT + number for number, _ in enumerate(self.nats_ports))

    def on_bus(self, key: BusKey) -> dict[str, object]:
        return {"BERTH_NATS_URL": self.nats_url, "BERTH_NATS_KEY_FILE": key.seed_file}

    def on_api_server(self, service: str) -> dict[str, object]:
        if self.api_server is None:
            return {}
        prefix = f"BERTH_{service}"
        return {
            f"{prefix}_KUBERNETES_CONFIG": self.api_server.kubeconfig,
            f"{prefix}_KUBERNETES_NAMESPACE": self.api_server.namespace,
        }

    def on_store(self, user: str, password: StorePassword) -> dict[str, object]:
        if self.stores is not None:
            return self.stores.on_store() | {
                "BERTH_REDIS_URL": self.stores.url(StoreUser(user)),
                "BERTH_REDIS_PASSWORD_FILE": password.password_file,
            }
        return {
            "BERTH_REDIS_URL": f"redis://{user}@{LOOPBACK}:{self.redis_port}/0",
            "BERTH_REDIS_PASSWORD_FILE": password.password_file,
        }


def simulator(
    around: Surroundings,
    *,
    port: int,
    topology_file: Path,
    account: CloudAccount,
    ready_file: Path,
    wireless: bool,
) -> ProcessSpec:
    """The cloud, with a door in every instance through which its agent reaches the bus."""
    arguments = ["--listen", f"{LOOPBACK}:{port}", "--topology", str(topology_file)]
    arguments += ["--ready-file", str(ready_file), *(["--wireless"] if wireless else [])]
    doors = [
        {"listen": f"{LOOPBACK}:{_RELAYED_PORT + number}", "target": f"{LOOPBACK}:{port}"}
        for number, port in enumerate(around.nats_ports)
    ]
    if around.api_server is not None:
        address = around.api_server.address
        doors.append({"listen": address, "target": address})
    spec = around.service(
        "simulator",
        "services.vpc_simulator.main",
        arguments,
        {
            "BERTH_SIMULATOR_SECRET_FILE": account.admin_file,
            "BERTH_VPC_SIMULATOR_RELAYS": json.dumps(doors),
        },
    )
    return replace(spec, is_ready=both(spec.is_ready, file_ready(ready_file)))


def allocator(
    around: Surroundings,
    *,
    number: int,
    key: BusKey,
    password: StorePassword,
    park_after_s: float | None,
    pod_folders: str,
) -> ProcessSpec:
    parking: dict[str, object] = {}
    if park_after_s is not None:  # looked for as often, so that it is seen to happen
        names = ("BERTH_ALLOCATOR_PARK_AFTER_S", "BERTH_ALLOCATOR_REAP_RETRY_S")
        parking = dict.fromkeys(names, park_after_s)
    return around.service(
        f"allocator-{number}",
        "services.allocator.main",
        settings=around.on_bus(key)
        | around.on_store("allocator", password)
        | _pods(around, number, pod_folders)
        | parking
        | {"BERTH_ALLOCATOR_JOURNAL_REPLICAS": len(around.nats_ports)},
    )


def _pods(around: Surroundings, number: int, folders: str) -> dict[str, object]:
    if around.api_server is None:
        return {
            "BERTH_ALLOCATOR_POD_SOURCE": "folders",
            "BERTH_ALLOCATOR_POD_FOLDERS": folders,
        }
    settings = around.on_api_server("ALLOCATOR") | {
        "BERTH_ALLOCATOR_POD_SOURCE": "kubernetes",
        "BERTH_ALLOCATOR_MIRROR_INTERVAL_S": _MIRROR_INTERVAL_S,
    }
    if number == 1:
        settings["BERTH_ALLOCATOR_WEBHOOK_LISTEN"] = around.api_server.webhook_listen
        settings["BERTH_ALLOCATOR_WEBHOOK_SERVICE"] = around.api_server.webhook_service
        settings["BERTH_ALLOCATOR_WEBHOOK_RENEW_INTERVAL_S"] = _MIRROR_INTERVAL_S
    return settings


def eni_manager(
    around: Surroundings,
    *,
    name: str,
    key: BusKey,
    password: StorePassword,
    topology: Topology,
    cloud_url: str,
    account: CloudAccount,
    cloud_in_flight_max_s: float | None,
) -> ProcessSpec:
    late: dict[str, object] = {}
    if cloud_in_flight_max_s is not None:
        late["BERTH_ENI_MANAGER_CLOUD_IN_FLIGHT_MAX_S"] = cloud_in_flight_max_s
    return around.service(
        name,
        "services.eni_manager.main",
        settings=around.on_bus(key)
        | around.on_store("eni_manager", password)
        | {
            "BERTH_ENI_MANAGER_CLOUD_URL": cloud_url,
            "BERTH_ENI_MANAGER_CLOUD_REGION": topology.region,
            "BERTH_ENI_MANAGER_CLOUD_SECRET_ID_FILE": account.secret_id_file,
            "BERTH_ENI_MANAGER_CLOUD_SECRET_KEY_FILE": account.secret_key_file,
        }
        | _nodes(around)
        | late,
    )


def _nodes(around: Surroundings) -> dict[str, object]:
    if around.api_server is None:
        return {}
    return around.on_api_server("ENI_MANAGER") | {
        "BERTH_ENI_MANAGER_KUBERNETES": True,
        "BERTH_ENI_MANAGER_MIRROR_INTERVAL_S": _MIRROR_INTERVAL_S,
    }


def node_agent(
    around: Surroundings,
    *,
    node: NodeState,
    key: BusKey,
    bus: BusClient,
    cooling_s: float | None,
) -> ProcessSpec:
    """The agent of one node, inside its instance's namespaces."""
    return ProcessSpec(
        name=f"agent-{node.name}",
        argv=tuple(node.enter(python_module("services.node_agent.main"))),
        environment=base_environment()
        | {
            "BERTH_CLUSTER": around.cluster,
            "BERTH_NODE": node.name,
            "BERTH_NATS_URL": around.relayed_bus,
            "BERTH_NATS_KEY_FILE": str(key.seed_file),
            "BERTH_RUN_DIR": str(node.run_dir),
            "BERTH_STATE_DIR": str(node.state_dir),
            "BERTH_NODE_AGENT_INSTANCE": node.instance,
            "BERTH_NODE_AGENT_CNI_CONF_DIR": str(node.cni_conf_dir),
            "BERTH_NODE_AGENT_CNI_BIN_DIR": str(node.cni_bin_dir),
            "BERTH_NODE_AGENT_ADD_TIMEOUT_S": str(_ADD_TIMEOUT_S),
        }
        | _pods_of(around, node)
        | ({} if cooling_s is None else {"BERTH_NODE_AGENT_COOLING_S": str(cooling_s)}),
        log_file=around.logs / f"agent-{node.name}.log",
        is_ready=agent_ready(bus, node.name, node.cni_conf_dir / CNI_CONFIGURATION),
    )


def _pods_of(around: Surroundings, node: NodeState) -> dict[str, str]:
    if around.api_server is None:
        return {"BERTH_NODE_AGENT_POD_FOLDER": str(node.pod_dir)}
    return {
        "BERTH_NODE_AGENT_POD_SOURCE": "kubernetes",
        "BERTH_NODE_AGENT_KUBERNETES_CONFIG": str(around.api_server.kubeconfig),
    }
