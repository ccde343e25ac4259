"""``python -m tests.bench.empty_handler``: an aiohttp handler that reads what it is sent, over
TLS, and answers with nothing: what any extender in Python costs at least."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Final

import uvloop
from aiohttp import web

PATH: Final = "/empty"
LISTEN: Final = "BERTH_BENCH_LISTEN"
CERTIFICATE: Final = "BERTH_BENCH_CERTIFICATE"  # a file with the key as well
_BODY_BYTES_MAX: Final = 3 << 20


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({})


async def serve() -> None:
    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.router.add_post(PATH, answer)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.environ[CERTIFICATE])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, _, port = os.environ[LISTEN].rpartition(":")
    await web.TCPSite(runner, host, int(port), ssl_context=tls).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
