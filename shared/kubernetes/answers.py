"""What the API server answers, in words of ours: pages, watch lines, refusals."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp

from shared.errors import InvalidInput, NotAuthorised, NotFound, Unavailable

from .watching import Object, WatchEvent, WatchGone

WATCH_S: Final = 300  # the server ends a watch after this time; the next resumes
SILENCE_S: Final = WATCH_S + 30.0
PAGE: Final = 500
_REASON_MAX: Final = 4096


class ObjectConflict(Exception):
    """The object was changed, or made, by somebody else: read it again."""


def watch_query(query: Mapping[str, str], version: str) -> dict[str, str]:
    return {
        **query,
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(WATCH_S),
    }


async def list_all(
    get: Callable[[str, Mapping[str, str]], Awaitable[Object]],
    path: str,
    query: Mapping[str, str],
    keep: Callable[[Object], Object] = lambda found: found,
    *,
    page: int = PAGE,
) -> tuple[list[Object], str]:
    """All objects, fetched in pages, and the version to watch from; of each what `keep`
    keeps."""
    found: list[Object] = []
    asked = {**query, "limit": str(page)}
    while True:
        body = await get(path, asked)
        found += map(keep, body.get("items") or [])
        metadata = body["metadata"]
        if not metadata.get("continue"):
            return found, str(metadata["resourceVersion"])
        asked["continue"] = metadata["continue"]


async def check_answer(answer: aiohttp.ClientResponse, path: str) -> None:
    """Raises what a refusal means, with the server's own reason."""
    if answer.status < 400:
        return
    text = (await answer.text())[:_REASON_MAX]
    try:
        reason = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        reason = text[:256]
    match answer.status:
        case 401 | 403:
            raise NotAuthorised(f"Kubernetes refuses {path}: {reason}")
        case 404:
            raise NotFound(f"Kubernetes, {path}: {reason}")
        case 409:
            raise ObjectConflict(reason)
        case 410:
            raise WatchGone
        case 400 | 422:
            raise InvalidInput(f"Kubernetes, {path}: {reason}")
    raise Unavailable(f"Kubernetes, {path}: {answer.status}: {reason}")


def event_of(line: bytes) -> WatchEvent:
    """A line of a watch. Raises WatchGone or Unavailable for the server's word of its end."""
    body = json.loads(line)
    kind, found = body["type"], body["object"]
    if kind == "ERROR":
        if found.get("code") == 410:
            raise WatchGone
        raise Unavailable(f"Kubernetes ended a watch: {found.get('message')}")
    return WatchEvent(kind=kind, found=found)
