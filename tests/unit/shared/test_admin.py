"""The admin port tells life, readiness and numbers."""

import json

import httpx
from orderonce_shared.runtime.admin import admin_routes
from orderonce_shared.runtime.process import Health
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette


async def test_routes() -> None:
    health, registry = Health(), CollectorRegistry()
    Counter("orders_sent", "sent", registry=registry).inc(3)
    app = Starlette(routes=admin_routes(health, registry))
    transport = httpx.ASGITransport(app=app)

    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        health.trouble("kafka", "not connected \ud800")
        unready = await client.get("/readyz")
        assert (unready.status_code, (await client.get("/livez")).status_code) == (503, 200)
        assert list(json.loads(unready.text)["troubles"]) == ["kafka"]

        health.fine("kafka")
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "troubles": {}})
        assert "orders_sent_total 3.0" in (await client.get("/metrics")).text
