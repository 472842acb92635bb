"""The admin port of a service: is it alive, can it do its work, what are its numbers. No key; bind
it to a private address.
"""

import json

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orderonce_shared.runtime.process import Health


class Doorway:
    """A port that serves one application until another is put in its place: a service that still
    waits for its database says so, and nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def admin_routes(health: Health, registry: CollectorRegistry) -> list[Route]:
    """GET /livez (the event loop turns), /readyz (503 with the reasons while it cannot work),
    /metrics (Prometheus).
    """

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        troubles = dict(health.troubles)
        # not orjson: an exception's text may hold what is no UTF-8
        body = json.dumps({"ready": not troubles, "troubles": troubles})
        return Response(body, 503 if troubles else 200, media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
