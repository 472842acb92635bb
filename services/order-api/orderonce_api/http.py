"""The common ground of both ports: from an ASGI call to a route and back; problems rendered in one
place.

Routes take the raw request: each reads what it needs once, through incoming.py, and its schema
stands beside it for the documents. FastAPI's own parsing of parameters and bodies is not used: it
costs more than the rest of the request, and keeps the last of two equal members.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.routing import APIRoute
from orderonce_shared.runtime.ids import new_request_id
from orderonce_shared.runtime.logs import Logger
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderonce_api import errors, store
from orderonce_api.incoming import refuse_malformed
from orderonce_api.metrics import Metrics

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class RawRoute(APIRoute):
    """A route of the application and its documents whose endpoint gets the request as it came."""

    def get_route_handler(self) -> Handler:
        handler: Handler = self.endpoint
        return handler


def new_app(title: str, description: str, version: str) -> FastAPI:
    app = FastAPI(
        title=title,
        description=description,
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = RawRoute
    return app


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def request_id(request: Request) -> str:
    found: str = request.scope["orderonce.request_id"]
    return found


class Edge:
    """The outermost layer: gives each request its id, refuses what is malformed before any
    routing, and turns whatever was raised into a problem document. No exception of ours or of a
    library reaches a client as bare text.

    A route whose path is fixed is called straight from here: FastAPI's layers between would cost
    as much again as the whole of an accept, and there is nothing for them to do.
    """

    def __init__(self, app: FastAPI, log: Logger, metrics: Metrics, port: str = "bots") -> None:
        self._port = port
        self._log = log
        self._metrics = metrics
        # The last one is for faults of ours: answered as a problem too, then raised on into the
        # server's log.
        for kind in (errors.ApiProblem, store.StoreError, HTTPException, Exception):
            app.add_exception_handler(kind, self._on_problem)
        self._straight = {
            (method, route.path): route.endpoint
            for route in app.routes
            if isinstance(route, RawRoute) and "{" not in route.path
            for method in route.methods or ()
        }
        self._app: ASGIApp = ServerErrorMiddleware(app, handler=self._on_problem)
        self._replied: dict[int, Counter] = {}  # by status: `labels` costs more than `inc`

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_request_id()
        scope["orderonce.request_id"] = request_id

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
                self._count(message["status"])
            await send(message)

        try:
            refuse_malformed(scope["headers"], scope["query_string"], scope["path"])
            endpoint = self._straight.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._app(scope, receive, tagged)
            else:
                await self._call(endpoint, Request(scope, receive, tagged), tagged)
        except errors.ApiProblem as problem:
            self._log.info("refused", audit=True, problem=problem.type, request_id=request_id)
            await self._render(problem, request_id)(scope, receive, tagged)

    def _count(self, status: int) -> None:
        counter = self._replied.get(status)
        if counter is None:
            counter = self._metrics.replies.labels(self._port, str(status))
            self._replied[status] = counter
        counter.inc()

    async def _call(self, endpoint: Handler, request: Request, send: Send) -> None:
        """What the layers would do: every fault is answered, one of ours is raised on as well."""
        try:
            response = await endpoint(request)
        except (errors.ApiProblem, store.StoreError) as error:
            response = self._on_problem(request, error)
        except Exception as error:
            await self._on_problem(request, error)(request.scope, request.receive, send)
            raise
        await response(request.scope, request.receive, send)

    def _on_problem(self, request: Request, error: Exception) -> Response:
        problem = _problem_of(error, request)
        cause = error if isinstance(error, store.StoreError) else error.__cause__
        if isinstance(cause, store.StoreError):
            self._log.warning("database-trouble", error=str(cause), request_id=request_id(request))
        return self._render(problem, request_id(request))

    def _render(self, problem: errors.ApiProblem, request_id: str) -> Response:
        return Response(
            problem.render(request_id),
            problem.status,
            {**problem.headers, "Cache-Control": "no-store"},
            media_type=errors.PROBLEM_MEDIA_TYPE,
        )


def _problem_of(error: Exception, request: Request) -> errors.ApiProblem:
    match error:
        case errors.ApiProblem():
            return error
        case store.Lost() | store.Busy() | store.TryAgain():
            return errors.Unavailable("the database is away or busy")
        case HTTPException(status_code=404):
            return errors.NotFound("no such route")
        case HTTPException(status_code=405):
            return errors.MethodNotAllowed((error.headers or {}).get("Allow", ""))
        case _:
            return errors.Internal()
