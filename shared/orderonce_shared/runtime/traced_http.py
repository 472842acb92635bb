"""The span of an HTTP request, around a whole application. Put there only while traces are on: off,
a request does not pass through here.

The caller's `traceparent` becomes the span's parent, and the application reads the span's own in
its place: whatever it stores and sends on is inside of the request.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from orderonce_shared.runtime.tracing import Tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"traceparent"
NO_ROUTE = (404, 405)  # then the path is whatever somebody typed: it names no span


class TracedHttp:
    def __init__(self, app: Application, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        others = [(name, value) for name, value in scope["headers"] if name != HEADER]
        given = [value for name, value in scope["headers"] if name == HEADER]
        parent = given[0].decode("latin-1") if len(given) == 1 else None
        method, status = scope["method"], 500
        span = self._tracing.begin(method, parent, "server", http__request__method=method)
        scope["headers"] = [*others, (HEADER, span.traceparent.encode())]

        async def heard(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, heard)
        finally:
            route = getattr(scope.get("route"), "path", None)
            if route is None and status not in NO_ROUTE:
                route = scope["path"]  # a fixed one, called without the router
            span.end(
                name=None if route is None else f"{method} {route}",
                error=f"status {status}" if status >= 500 else None,
                http__route=route,
                http__response__status_code=status,
            )


def traced(app: Application, tracing: Tracing) -> Application:
    """The application itself while traces are off."""
    return TracedHttp(app, tracing) if tracing.on else app
