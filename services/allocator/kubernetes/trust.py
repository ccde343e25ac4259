"""Keeps the webhook trusted: its certificates in a Secret, the bundle where it belongs.

Every replica runs the same rounds. The Secret is the one copy: who finds it missing or due
writes it, and who is second reads what the first one wrote. An authority is published before
anything is served under it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from shared.clock import Clock
from shared.errors import NotFound
from shared.kubernetes.answers import ObjectConflict
from shared.kubernetes.client import KubernetesClient

from .certificates import KeyPair, bundle, new_authority, new_serving_pair, read_pair

log = logging.getLogger(__name__)

SECRET: Final = "berth-webhook-tls"
_CONFIGURATIONS: Final = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the Secret holds."""

    authority: KeyPair
    former: bytes  # certificate of the authority before; empty: there was none
    serving: KeyPair
    version: str  # the Secret's; empty: not stored yet

    @property
    def bundle(self) -> bytes:
        return bundle([self.authority]) + self.former


class TrustKeeper:
    def __init__(
        self,
        kubernetes: KubernetesClient,
        clock: Clock,
        *,
        namespace: str,
        service: str,
        configurations: Sequence[str],
        serve: Callable[[KeyPair], None],
    ) -> None:
        self._kubernetes = kubernetes
        self._clock = clock
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._namespace = namespace
        self._service = service
        self._names = tuple(configurations)
        self._serve = serve
        self._served: KeyPair | None = None

    async def round(self) -> None:
        """Bring Secret, bundles and what is served up to date; safe on every replica."""
        try:
            trust = await self._read()
            wanted = self._renewed(trust, self._clock.now())
            if wanted is not trust:
                await self._write(wanted)
                log.info("webhook certificates renewed")
            await self._publish(wanted.bundle)
        except ObjectConflict:
            return  # another replica was first: the next round reads what it wrote
        if wanted.serving != self._served:
            self._serve(wanted.serving)
            self._served = wanted.serving

    def _renewed(self, trust: Trust | None, now: datetime) -> Trust:
        name = f"{self._service}.{self._namespace}.svc"
        if trust is None:
            authority = new_authority(f"{name} authority", now)
            serving = new_serving_pair(authority, [name], now)
            return Trust(authority=authority, former=b"", serving=serving, version="")
        if trust.authority.is_due(now):
            # What is served stays under the former one until the bundle is known everywhere.
            authority = new_authority(f"{name} authority", now)
            return replace(trust, authority=authority, former=trust.authority.certificate)
        if trust.serving.is_due(now) or not trust.serving.is_signed_by(trust.authority):
            return replace(trust, serving=new_serving_pair(trust.authority, [name], now))
        return trust

    async def _read(self) -> Trust | None:
        try:
            secret = await self._kubernetes.get(f"{self._secrets}/{SECRET}")
        except NotFound:
            return None
        held = {
            name: base64.b64decode(text) for name, text in (secret.get("data") or {}).items()
        }
        where = f"secret {self._namespace}/{SECRET}"
        return Trust(
            authority=read_pair(held.get("ca.crt", b""), held.get("ca.key", b""), where=where),
            former=held.get("former-ca.crt", b""),
            serving=read_pair(held.get("tls.crt", b""), held.get("tls.key", b""), where=where),
            version=secret["metadata"]["resourceVersion"],
        )

    async def _write(self, trust: Trust) -> None:
        metadata: dict[str, Any] = {"name": SECRET, "namespace": self._namespace}
        content = {
            "ca.crt": trust.authority.certificate,
            "ca.key": trust.authority.key,
            "former-ca.crt": trust.former,
            "tls.crt": trust.serving.certificate,
            "tls.key": trust.serving.key,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {name: base64.b64encode(each).decode() for name, each in content.items()},
        }
        if trust.version:
            metadata["resourceVersion"] = trust.version
            await self._kubernetes.replace(f"{self._secrets}/{SECRET}", body)
        else:
            await self._kubernetes.create(self._secrets, body)

    async def _publish(self, wanted: bytes) -> None:
        """Into every webhook of our configurations that does not have it."""
        text = base64.b64encode(wanted).decode()
        for folder in _CONFIGURATIONS:
            for name in self._names:
                try:
                    found = await self._kubernetes.get(f"{folder}/{name}")
                except NotFound:
                    continue  # not installed: there is nobody who would have to trust us
                clients = [each["clientConfig"] for each in found.get("webhooks") or []]
                if any(each.get("caBundle") != text for each in clients):
                    for each in clients:
                        each["caBundle"] = text
                    await self._kubernetes.replace(f"{folder}/{name}", found)
