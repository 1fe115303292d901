"""A plain reverse proxy by hand on aiohttp: a plain first version. Two processes on one port.

It does what the others are measured doing: the fewest open requests (in its own process) decide, and each request is logged."""

from __future__ import annotations

import asyncio
import logging
import os

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

OPEN = dict.fromkeys(os.environ["BENCH_UPSTREAMS"].split(","), 0)
HOP = {"connection", "keep-alive", "te", "transfer-encoding", "upgrade", "host", "content-length"}


async def handle(request: web.Request) -> web.StreamResponse:
    session: ClientSession = request.app["session"]
    fields = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
    upstream = min(OPEN, key=OPEN.__getitem__)
    url = f"http://127.0.0.1:{upstream}{request.raw_path}"
    body = request.content if request.body_exists else None
    OPEN[upstream] += 1
    try:
        return await forward(request, session, url, fields, body)
    finally:
        OPEN[upstream] -= 1


async def forward(
    request: web.Request, session: ClientSession, url: str, fields: list[tuple[str, str]], body: object
) -> web.StreamResponse:
    async with session.request(request.method, url, headers=fields, data=body, allow_redirects=False) as reply:
        out = web.StreamResponse(status=reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in HOP:
                out.headers.add(name, value)
        if reply.content_length is not None:
            out.content_length = reply.content_length
        await out.prepare(request)
        async for block in reply.content.iter_any():
            await out.write(block)
        await out.write_eof()
        return out


async def session(app: web.Application):
    app["session"] = ClientSession(
        connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False, skip_auto_headers=["User-Agent"]
    )
    yield
    await app["session"].close()


if __name__ == "__main__":
    if os.fork():
        pass
    log = logging.getLogger("aiohttp.access")
    log.setLevel(logging.INFO)
    log.addHandler(logging.FileHandler(os.environ["BENCH_ACCESS_LOG"]))
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", handle)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), reuse_port=True, loop=asyncio.new_event_loop())
