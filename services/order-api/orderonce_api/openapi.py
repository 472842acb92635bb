"""The documents of both ports, made from the routes alone: no server, no settings."""

from typing import Any, cast

from orderonce_shared.runtime.process import Health
from prometheus_client import CollectorRegistry

from orderonce_api.admin import Admin, admin_app
from orderonce_api.auth import Gate
from orderonce_api.bots import Bots, bots_app
from orderonce_api.documents import render
from orderonce_api.keys import Keeper
from orderonce_api.letters import Letters


def render_openapi() -> str:
    """docs/openapi.json: the port for bots."""
    none: Any = None
    return render(bots_app(Bots(none, none, none, none, none, none, none)))


def render_admin_openapi() -> str:
    """docs/openapi-admin.json: the port for operators."""
    unused = Admin(
        cast(Gate, None), cast(Keeper, None), cast(Letters, None), Health(), CollectorRegistry()
    )
    return render(admin_app(unused))
