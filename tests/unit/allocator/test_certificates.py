"""The webhook's authority and certificates: trusted, bound to names, renewed in time."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.allocator.kubernetes.certificates import (
    SERVING_LIFE,
    KeyPair,
    bundle,
    new_authority,
    new_serving_pair,
    read_pair,
)
from shared.errors import InvalidInput

NAME = "berth-webhook.kube-system.svc"
NOW = datetime.now(UTC)


def handshake(folder: Path, served: KeyPair, trusted: bytes, name: str) -> None:
    """A real TLS handshake over a socket pair. Raises what the client finds wrong."""
    files = folder / "tls.crt", folder / "tls.key"
    for file, content in zip(files, (served.certificate, served.key), strict=True):
        file.write_bytes(content)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*files)
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(far, server_side=True).close()
        except (ssl.SSLError, OSError):
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        trusting = ssl.create_default_context(cadata=trusted.decode())
        trusting.wrap_socket(near, server_hostname=name).close()
    finally:
        near.close()
        thread.join()


def test_a_client_that_trusts_the_bundle_trusts_the_certificate(tmp_path: Path) -> None:
    old, new = new_authority("old", NOW), new_authority("new", NOW)
    served = new_serving_pair(new, [NAME], NOW)

    handshake(tmp_path, served, bundle([old, new]), NAME)

    assert served.not_after - NOW == pytest.approx(SERVING_LIFE, abs=SERVING_LIFE / 365)


@pytest.mark.parametrize("case", ["another authority", "another name"])
def test_a_stranger_is_not_trusted(tmp_path: Path, case: str) -> None:
    ours = new_authority("ours", NOW)
    signer = ours if case == "another name" else new_authority("theirs", NOW)
    served = new_serving_pair(signer, [NAME], NOW)
    name = "elsewhere.svc" if case == "another name" else NAME

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, served, bundle([ours]), name)


def test_a_certificate_is_due_when_a_third_of_its_life_is_left() -> None:
    served = new_serving_pair(new_authority("ours", NOW), [NAME], NOW)

    assert not served.is_due(NOW + SERVING_LIFE * 0.6)
    assert served.is_due(NOW + SERVING_LIFE * 0.7)


def test_a_pair_that_does_not_belong_together_is_refused_without_its_key() -> None:
    one, other = new_authority("one", NOW), new_authority("other", NOW)

    with pytest.raises(InvalidInput, match="secret x") as refusal:
        read_pair(one.certificate, other.key, where="secret x")

    assert "PRIVATE" not in str(refusal.value)
    assert read_pair(one.certificate, one.key, where="secret x") == one
