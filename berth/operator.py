"""An operator on the bus: the playground's key, or the one that the environment names."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from berth.playground.state import PlaygroundState, read_state
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.bus.roles import Role, client_name
from shared.clock import SystemClock
from shared.settings import ServiceSettings, load_settings

_CONNECT_S: Final = 2.0


class _PlaygroundSettings(ServiceSettings):
    """A playground's address and key, whatever the environment says."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def operator_settings(run_dir: Path) -> ServiceSettings:
    """BERTH_NATS_URL names the bus; else it is that of the playground in `run_dir`."""
    if "BERTH_NATS_URL" in os.environ:
        return load_settings(ServiceSettings, None, os.environ)
    return settings_of(read_state(run_dir))


def settings_of(state: PlaygroundState) -> ServiceSettings:
    return _PlaygroundSettings(
        cluster=state.cluster,
        nats_url=state.nats_url,
        nats_key_file=state.operator_key_file,
        nats_connect_timeout_s=_CONNECT_S,
    )


@asynccontextmanager
async def open_operator(source: PlaygroundState | ServiceSettings) -> AsyncIterator[BusClient]:
    """A client that may ask what operators may. Raises in one line when there is no bus."""
    settings = settings_of(source) if isinstance(source, PlaygroundState) else source
    nats = await connect_bus(settings, client_name=client_name(Role.OPERATOR))
    try:
        yield BusClient(
            nats, cluster=settings.cluster, clock=SystemClock(), rng=random.Random()
        )
    finally:
        await nats.close()
