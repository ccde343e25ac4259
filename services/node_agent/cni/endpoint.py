"""From one frame to one answer: parse, call the use case, shape the result.

Nothing here knows sockets, so the verbs can be read and tested as a table.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.node_agent.adapters.cni_spool import settle_spooled
from services.node_agent.cni.codes import (
    NEWEST_VERSION,
    BadCall,
    CniCode,
    code_of,
    error_result,
)
from services.node_agent.cni.request import (
    VALID_ATTACHMENTS,
    CniRequest,
    Verb,
    parse_request,
    prev_address,
)
from services.node_agent.cni.results import add_result
from services.node_agent.domain.requests import Add, Attachments, Check
from shared.clock import Clock
from shared.errors import BerthError, ErrorCode, Unavailable
from shared.ids import AttachmentKey
from shared.telemetry.metrics import CNI_SECONDS

log = logging.getLogger(__name__)

# The use case ends this much before the plugin stops listening, so that its reason is heard.
_MARGIN_PART: Final = 0.1
_MARGIN_MAX: Final = timedelta(seconds=1)
_OVERTIME_S: Final = 5.0  # a use case that ignores its deadline loses its place then


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the plugin prints, and its exit status."""

    status: int
    stdout: str
    is_retryable: bool = False  # a deletion may be spooled instead of failed
    added: AttachmentKey | None = None  # by this call; a killed plugin leaves it

    def encode(self) -> bytes:
        return json.dumps(
            {"status": self.status, "stdout": self.stdout, "retry": self.is_retryable}
        ).encode()


class CniEndpoint:
    """Serves the verbs over the Attachments port."""

    def __init__(self, attachments: Attachments, *, clock: Clock, spool_dir: Path) -> None:
        self._attachments = attachments
        self._clock = clock
        self._spool_dir = spool_dir

    async def answer(self, body: bytes, netns_fd: int | None) -> Answer:
        """Never raises, but for cancellation: whatever happens is told to the runtime."""
        began_s = self._clock.monotonic_s()
        verb, outcome, version = "unknown", "ok", NEWEST_VERSION
        try:
            request = parse_request(body)
            verb, version = request.verb.value, request.cni_version
            answer = Answer(
                status=0,
                stdout=await self._serve(request, netns_fd),
                added=request.key if request.verb is Verb.ADD else None,
            )
        except BerthError as error:
            outcome = error.code
            answer = refusal(error, verb=verb, cni_version=version)
            log.info("call refused", extra={"verb": verb, "code": outcome, "why": str(error)})
        except Exception:  # a bug: logged once with its traceback, answered without it
            outcome = ErrorCode.INTERNAL
            log.exception("call failed", extra={"verb": verb})
            bug = BerthError("a bug in the node agent; see its log")
            answer = refusal(bug, verb=verb, cni_version=version)
        CNI_SECONDS.labels(verb, outcome).observe(self._clock.monotonic_s() - began_s)
        return answer

    async def undo(self, added: AttachmentKey) -> None:
        """Nobody heard that it was added: the runtime killed the plugin, and may have died."""
        log.warning("answer not heard, undone", extra={"attachment": str(added)})
        try:
            await self._attachments.delete(added)
        except BerthError as error:  # garbage collection will find it
            log.warning("not undone", extra={"attachment": str(added), "why": str(error)})

    async def _serve(self, request: CniRequest, netns_fd: int | None) -> str:
        try:
            async with asyncio.timeout(request.timeout.total_seconds() + _OVERTIME_S):
                match request.verb:
                    case Verb.ADD:
                        return await self._add(request, netns_fd)
                    case Verb.DEL:
                        await self._attachments.delete(_key(request))
                    case Verb.CHECK:
                        await self._check(request, netns_fd)
                    case Verb.STATUS:
                        await self._attachments.status()
                    case Verb.GC:
                        await self._collect(request)
        except TimeoutError as error:
            raise Unavailable(f"{request.verb} was not done in time") from error
        return ""

    async def _add(self, request: CniRequest, netns_fd: int | None) -> str:
        key = _key(request)
        # A deletion that was left behind for the same attachment belongs before this ADD.
        await settle_spooled(self._spool_dir, key, self._attachments)
        margin = min(request.timeout * _MARGIN_PART, _MARGIN_MAX)
        wired = await self._attachments.add(
            Add(
                key=key,
                pod=request.pod,
                pod_uid=request.pod_uid,
                netns_fd=_open_netns(request, netns_fd),
                netns_path=request.netns_path,
                mode=request.mode,
                is_pod_known=request.is_pod_known,
                deadline=self._clock.now() + request.timeout - margin,
            )
        )
        return add_result(
            wired,
            cni_version=request.cni_version,
            netns_path=request.netns_path,
            prev_result=request.prev_result,
        )

    async def _check(self, request: CniRequest, netns_fd: int | None) -> None:
        key = _key(request)
        if request.prev_result is None:
            raise _bad_config(request, "prevResult: CHECK needs the result of ADD")
        await self._attachments.check(
            Check(
                key=key,
                netns_fd=_open_netns(request, netns_fd),
                address=prev_address(request.prev_result, key.ifname),
            )
        )

    async def _collect(self, request: CniRequest) -> None:
        # The runtime's library leaves the key out when it was given no list: that is no order
        # to remove everything.
        if request.valid is None:
            raise _bad_config(
                request, f"{VALID_ATTACHMENTS}: absent: nothing is collected without a list"
            )
        await self._attachments.collect(request.network, request.valid)


def refusal(error: BerthError, *, verb: str, cni_version: str) -> Answer:
    """An error as the runtime reads it."""
    if isinstance(error, BadCall):
        cni_version = error.cni_version
    code = code_of(error, is_status=verb == Verb.STATUS)
    return Answer(
        status=1,
        stdout=error_result(code, error.code.value, str(error), cni_version=cni_version),
        is_retryable=not isinstance(error, BadCall),
    )


def _key(request: CniRequest) -> AttachmentKey:
    assert request.key is not None, "the parser gives every such verb a key"
    return request.key


def _open_netns(request: CniRequest, netns_fd: int | None) -> int:
    if netns_fd is None:
        raise BadCall(
            CniCode.BAD_ENVIRONMENT,
            f"CNI_NETNS: {request.netns_path[:120]!r}: no open namespace came with the call",
            cni_version=request.cni_version,
        )
    return netns_fd


def _bad_config(request: CniRequest, detail: str) -> BadCall:
    return BadCall(CniCode.BAD_CONFIGURATION, detail, cni_version=request.cni_version)
