"""Calls the webhooks that are registered, as the API server does before it stores an object."""

from __future__ import annotations

import base64
import copy
import json
import ssl
import uuid

import aiohttp

from tests.support.kubernetes.failures import ApiFailure
from tests.support.kubernetes.kinds import (
    MUTATING_WEBHOOKS,
    NAMESPACES,
    VALIDATING_WEBHOOKS,
    Kind,
    Object,
)
from tests.support.kubernetes.patches import JSON_PATCH, patched
from tests.support.kubernetes.selectors import selector
from tests.support.kubernetes.store import ObjectStore

_TIMEOUT_S = 10


class Admission:
    """Mutating webhooks first, then the validating ones."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.addresses: dict[tuple[str, str], str] = {}
        """Where a service of the cluster, (namespace, name), really listens: HOST:PORT."""
        self.failures: list[str] = []
        """Calls that failed and were let pass, because their webhook asks for that."""

    async def admit(
        self, kind: Kind, namespace: str, verb: str, body: Object, old: Object | None
    ) -> Object:
        """The object as it is to be stored. Raises what a webhook refuses."""
        for configurations in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            if kind == configurations:
                return body
            for each in self._store.list(configurations, "", lambda _: True):
                for webhook in each.get("webhooks", []):
                    if self._is_asked(webhook, kind, namespace, verb, body):
                        body = await self._ask(webhook, kind, namespace, verb, body, old)
        return body

    def _is_asked(
        self, webhook: Object, kind: Kind, namespace: str, verb: str, body: Object
    ) -> bool:
        is_ruled = any(
            {verb, "*"} & set(rule["operations"])
            and {kind.group, "*"} & set(rule["apiGroups"])
            and {kind.version, "*"} & set(rule["apiVersions"])
            and {kind.plural, "*"} & set(rule["resources"])
            for rule in webhook["rules"]
        )
        return (
            is_ruled
            and _chooses(webhook.get("objectSelector"), body)
            and (
                not kind.is_namespaced
                or _chooses(webhook.get("namespaceSelector"), self._namespace(namespace))
            )
        )

    def _namespace(self, name: str) -> Object:
        try:
            return self._store.get(NAMESPACES, "", name)
        except ApiFailure:
            return {"metadata": {"labels": {"kubernetes.io/metadata.name": name}}}

    async def _ask(
        self,
        webhook: Object,
        kind: Kind,
        namespace: str,
        verb: str,
        body: Object,
        old: Object | None,
    ) -> Object:
        try:
            response = await self._call(webhook, _review(kind, namespace, verb, body, old))
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError) as error:
            if webhook.get("failurePolicy", "Fail") == "Ignore":
                self.failures.append(f"{webhook['name']}: {error!r}")
                return body
            raise ApiFailure(
                500, "InternalError", f'failed calling webhook "{webhook["name"]}": {error!r}'
            ) from error
        if not response.get("allowed"):
            status = response.get("status", {})
            message = status.get("message", "without explanation")
            raise ApiFailure(
                int(status.get("code", 403)),
                status.get("reason", "Forbidden"),
                f'admission webhook "{webhook["name"]}" denied the request: {message}',
            )
        if not response.get("patch"):
            return body
        return patched(JSON_PATCH, body, json.loads(base64.b64decode(response["patch"])))

    async def _call(self, webhook: Object, review: Object) -> Object:
        url, name, tls = self._target(webhook["clientConfig"])
        timeout = aiohttp.ClientTimeout(webhook.get("timeoutSeconds", _TIMEOUT_S))
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=review, ssl=tls, server_hostname=name) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"the webhook answered {answer.status}")
            told = await answer.json()
        response: Object = told["response"]
        if response["uid"] != review["request"]["uid"]:
            raise ValueError("the webhook answered another request")
        return response

    def _target(self, client: Object) -> tuple[str, str | None, ssl.SSLContext]:
        tls = ssl.create_default_context(
            cadata=base64.b64decode(client.get("caBundle", "")).decode() or None
        )
        if "url" in client:
            return client["url"], None, tls
        service = client["service"]
        place = self.addresses[service["namespace"], service["name"]]
        # TLS is checked against the service's name, whatever address stands behind it.
        name = f"{service['name']}.{service['namespace']}.svc"
        return f"https://{place}{service.get('path', '/')}", name, tls


def _review(kind: Kind, namespace: str, verb: str, body: Object, old: Object | None) -> Object:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "resource": {
                "group": kind.group,
                "version": kind.version,
                "resource": kind.plural,
            },
            "namespace": namespace,
            "name": body["metadata"].get("name", ""),
            "operation": verb,
            "object": None if verb == "DELETE" else copy.deepcopy(body),
            "oldObject": copy.deepcopy(old),
            "dryRun": False,
            "userInfo": {"username": "tests"},
        },
    }


def _chooses(wanted: Object | None, found: Object) -> bool:
    if not wanted:
        return True
    labels = found.get("metadata", {}).get("labels") or {}
    by_labels = ",".join(f"{k}={v}" for k, v in wanted.get("matchLabels", {}).items())
    if not selector(by_labels, "")({"metadata": {"labels": labels}}):
        return False
    return all(_expressed(each, labels) for each in wanted.get("matchExpressions", []))


def _expressed(expression: Object, labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"operator {expression['operator']!r}")
