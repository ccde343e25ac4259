"""Lua scripts by file name: EVALSHA first, and the source again when the server forgot it."""

from __future__ import annotations

from importlib import resources

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def load_script(store: Redis, package: str, name: str) -> AsyncScript:
    """Register ``<package>/<name>.lua``; the NOSCRIPT fallback is the client's own."""
    source = resources.files(package).joinpath(f"{name}.lua")
    return store.register_script(source.read_text(encoding="utf-8"))
