"""Debian's Redis (from redis-tools, as no wheel of a store speaks TLS): a master, its replica
and three sentinels, all encrypted, whose clients prove themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.ids import ClusterName
from shared.store.permissions import (
    ReplicationUser,
    StoreUser,
    acl_lines,
    replication_acl_lines,
)
from tests.support.sentinels import SENTINELS, SERVICE
from tests.support.servers import Server, free_port
from tests.support.tls_files import TlsFolder

BINARY = Path("/usr/bin/redis-check-rdb")  # the server, when it is called redis-server
_SECRET = "of-the-tests"
_DOWN_MS = 400


class EncryptedServer(Server):
    """Ready once it says so: it answers nobody who comes without a certificate."""

    words: str = "Ready to accept connections"

    def _answers(self) -> bool:
        return self.words in (self.folder / "log").read_text(errors="replace")


class EncryptedSentinel(EncryptedServer):
    words = "+monitor master"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedStore:
    files: TlsFolder
    master: EncryptedServer
    replica: EncryptedServer
    sentinels: Sequence[EncryptedSentinel]
    password_file: Path

    @property
    def settings(self) -> dict[str, object]:
        """Of a service that connects as the allocator, by the sentinels."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return {
            "redis_url": f"rediss+sentinel://{StoreUser.ALLOCATOR}@{hosts}/{SERVICE}",
            "redis_password_file": self.password_file,
            "redis_ca_file": self.files.ca,
            "redis_tls_cert_file": self.files.client_certificate,
            "redis_tls_key_file": self.files.client_key,
            "redis_timeout_s": 1.0,
        }


@contextmanager
def encrypted_store(cluster: ClusterName, folder: Path) -> Iterator[EncryptedStore]:
    files = TlsFolder(folder / "tls")
    acl = folder / "users.acl"
    acl.write_text(
        "\n".join(
            [
                *acl_lines(cluster, dict.fromkeys(StoreUser, _SECRET)),
                *replication_acl_lines(dict.fromkeys(ReplicationUser, _SECRET)),
            ]
        )
        + "\n"
    )
    password_file = folder / "password"
    password_file.write_text(_SECRET)
    own = [
        f"aclfile {acl}",
        f"masterauth {_SECRET}",
        f"masteruser {ReplicationUser.REPLICA}",
        "repl-diskless-sync-delay 0",
        *("appendonly yes", "appendfsync always", 'save ""'),
    ]
    with ExitStack() as stack:

        def started(
            kind: type[EncryptedServer], name: str, lines: Sequence[str], *more: str
        ) -> EncryptedServer:
            server = _server(kind, folder / name, files, lines, more)
            server.start()
            stack.callback(server.kill)
            return server

        master = started(EncryptedServer, "master", own)
        replica = started(
            EncryptedServer, "replica", [*own, f"replicaof 127.0.0.1 {master.port}"]
        )
        watch = _watch(master.port)
        sentinels = [
            started(EncryptedSentinel, f"sentinel-{number}", watch, "--sentinel")
            for number in range(SENTINELS)
        ]
        yield EncryptedStore(
            files=files,
            master=master,
            replica=replica,
            sentinels=[each for each in sentinels if isinstance(each, EncryptedSentinel)],
            password_file=password_file,
        )


def _server(
    kind: type[EncryptedServer],
    folder: Path,
    files: TlsFolder,
    lines: Sequence[str],
    more: Sequence[str],
) -> EncryptedServer:
    folder.mkdir()
    binary = folder / "redis-server"
    binary.symlink_to(BINARY)
    port = free_port()
    file = folder / "redis.conf"
    encrypted = [
        *("port 0", f"tls-port {port}", "bind 127.0.0.1", f"dir {folder}"),
        f"tls-cert-file {files.certificate}",
        f"tls-key-file {files.key}",
        f"tls-ca-cert-file {files.ca}",
        *("tls-auth-clients yes", "tls-replication yes"),
    ]
    file.write_text("\n".join([*encrypted, *lines]) + "\n")
    return kind([str(binary), str(file), *more], port=port, folder=folder)


def _watch(port: int) -> list[str]:
    return [
        f"sentinel monitor {SERVICE} 127.0.0.1 {port} 2",
        f"sentinel auth-user {SERVICE} {ReplicationUser.SENTINEL}",
        f"sentinel auth-pass {SERVICE} {_SECRET}",
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
        f"sentinel failover-timeout {SERVICE} 5000",
    ]
