"""The life of a service process: arguments, settings, signals, one line per expected failure.

Exit statuses: 0 after a drain, 1 for what the world refused (bus, port, store), 2 for bad
arguments or settings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path

import uvloop

from shared.errors import BerthError
from shared.settings import InvalidSettings, Settings, load_settings
from shared.telemetry.logs import configure_logging

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]


def version() -> str:
    """The installed release, or the source tree's mark when Berth is not installed."""
    try:
        return metadata.version("berth")
    except metadata.PackageNotFoundError:
        return "0+source"


def service_parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"{program} {version()}")
    parser.add_argument(
        "--config",
        type=Path,
        default=os.environ.get("BERTH_CONFIG"),
        metavar="FILE",
        help="YAML file with a section for each service",
    )
    return parser


def service_main(
    program: str, description: str, kind: type[Settings], serve: Serve[Settings]
) -> None:
    """Parse, load, serve until SIGTERM or SIGINT; ends the process with its exit status."""
    arguments = service_parser(program, description).parse_args()
    sys.exit(run_service(program, arguments.config, kind, serve))


def run_service(
    program: str, config: Path | None, kind: type[Settings], serve: Serve[Settings]
) -> int:
    try:
        settings = load_settings(kind, config, os.environ)
        configure_logging(service=program, level=settings.log_level, style=settings.log_format)
        uvloop.run(_until_signal(settings, serve))
    except InvalidSettings as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
    except BerthError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 1
    return 0


async def _until_signal(settings: Settings, serve: Serve[Settings]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await serve(settings, stop)
