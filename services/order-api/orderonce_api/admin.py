"""The port for operators: keys, accounts, halts, dead letters; beside them livez, readyz and
metrics without a key.
"""

from dataclasses import dataclass

from fastapi import FastAPI
from orderonce_shared.contracts import http as bodies
from orderonce_shared.runtime.admin import admin_routes
from orderonce_shared.runtime.process import Health
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from orderonce_api import errors, views
from orderonce_api.auth import Gate
from orderonce_api.documents import operation, path_parameter
from orderonce_api.http import json_response, new_app
from orderonce_api.incoming import body_of
from orderonce_api.keys import Keeper
from orderonce_api.letter_routes import add_letter_routes
from orderonce_api.letters import Letters

TITLE = "orderonce order API, admin port"
DESCRIPTION = (
    "For operators: API keys, venue accounts, halts and dead letters, with a key of scope `admin`."
    " `/livez`, `/readyz` and `/metrics` need no key; bind this port to a private address."
)
VERSION = "1"
ADMIN = "admin"
_READ_BODY = (errors.BodyInvalid, errors.BodyTooLarge, errors.MediaTypeUnsupported)


@dataclass(frozen=True, slots=True)
class Admin:
    gate: Gate
    keeper: Keeper
    letters: Letters
    health: Health
    registry: CollectorRegistry


def admin_app(admin: Admin) -> FastAPI:
    app = new_app(TITLE, DESCRIPTION, VERSION)
    _keys(app, admin)
    _accounts(app, admin)
    _halts(app, admin)
    add_letter_routes(app, admin.gate, admin.letters)
    app.router.routes.extend(admin_routes(admin.health, admin.registry))
    return app


def _keys(app: FastAPI, admin: Admin) -> None:
    async def create_key(request: Request) -> Response:
        caller = await admin.gate.caller(request, ADMIN)
        row, text = await admin.keeper.create(
            await body_of(request, bodies.CreateKeyBody), caller.kid
        )
        return json_response({**views.key(row), "key": text}, 201, {"Cache-Control": "no-store"})

    async def list_keys(request: Request) -> Response:
        await admin.gate.caller(request, ADMIN)
        rows = await admin.keeper.store.list_keys()
        return json_response({"keys": [views.key(row) for row in rows]})

    async def revoke_key(request: Request) -> Response:
        caller = await admin.gate.caller(request, ADMIN)
        body = await body_of(request, bodies.RevokeBody, may_be_empty=True)
        kid = request.path_params["kid"]
        if not kid.isascii() or not kid.isalnum():
            raise errors.NotFound("no such key")
        return json_response(views.key(await admin.keeper.revoke(kid, body.reason, caller.kid)))

    app.add_api_route(
        "/v1/keys",
        create_key,
        methods=["POST"],
        operation_id="create_key",
        **operation(
            "Create an API key; `key` is shown this once",
            bodies.KeyCreated,
            status=201,
            scope=ADMIN,
            body=bodies.CreateKeyBody,
            problems=_READ_BODY,
        ),
    )
    app.add_api_route(
        "/v1/keys",
        list_keys,
        methods=["GET"],
        operation_id="list_keys",
        **operation("All keys, without secrets", bodies.KeyPage, scope=ADMIN),
    )
    app.add_api_route(
        "/v1/keys/{kid}/revoke",
        revoke_key,
        methods=["POST"],
        operation_id="revoke_key",
        **operation(
            "Revoke a key: after the reply nothing that it asked for leaves any more",
            bodies.KeyShown,
            scope=ADMIN,
            body=bodies.RevokeBody,
            body_required=False,
            parameters=[path_parameter("kid", "the public part of the key")],
            problems=[*_READ_BODY, errors.NotFound, errors.LastAdminKey],
        ),
    )


def _accounts(app: FastAPI, admin: Admin) -> None:
    async def list_accounts(request: Request) -> Response:
        await admin.gate.caller(request, ADMIN)
        rows = await admin.keeper.store.accounts(None)
        return json_response({"accounts": [views.admin_account(row) for row in rows]})

    async def admit_account(request: Request) -> Response:
        caller = await admin.gate.caller(request, ADMIN)
        body = await body_of(request, bodies.AdmitAccountBody)
        return json_response(views.admin_account(await admin.keeper.admit(body, caller.kid)), 201)

    app.add_api_route(
        "/v1/accounts",
        list_accounts,
        methods=["GET"],
        operation_id="list_accounts",
        **operation("All accounts", bodies.AdminAccountPage, scope=ADMIN),
    )
    app.add_api_route(
        "/v1/accounts",
        admit_account,
        methods=["POST"],
        operation_id="admit_account",
        **operation(
            "Admit a venue account, once",
            bodies.AdminAccountShown,
            status=201,
            scope=ADMIN,
            body=bodies.AdmitAccountBody,
            problems=[*_READ_BODY, errors.AccountExists, errors.VenueUnproven],
        ),
    )


def _halts(app: FastAPI, admin: Admin) -> None:
    async def halt_account(request: Request) -> Response:
        caller = await admin.gate.caller(request, ADMIN)
        body = await body_of(request, bodies.HaltBody, may_be_empty=True)
        row, wire = await admin.keeper.halt(_account(request), body.reason, caller.kid)
        return json_response({**views.admin_account(row), "on_the_wire": wire})

    async def resume_account(request: Request) -> Response:
        caller = await admin.gate.caller(request, ADMIN)
        await body_of(request, bodies.HaltBody, may_be_empty=True)
        row = await admin.keeper.resume(_account(request), caller.kid)
        return json_response(views.admin_account(row))

    name = path_parameter("account", "our name of the account")
    app.add_api_route(
        "/v1/accounts/{account}/halt",
        halt_account,
        methods=["POST"],
        operation_id="halt_account",
        **operation(
            "Halt: after the reply nothing new leaves for the venue",
            bodies.HaltShown,
            scope=ADMIN,
            body=bodies.HaltBody,
            body_required=False,
            parameters=[name],
            problems=[*_READ_BODY, errors.NotFound],
        ),
    )
    app.add_api_route(
        "/v1/accounts/{account}/resume",
        resume_account,
        methods=["POST"],
        operation_id="resume_account",
        **operation(
            "Resume: what still waits goes out if its deadline allows",
            bodies.AdminAccountShown,
            scope=ADMIN,
            body=bodies.HaltBody,
            body_required=False,
            parameters=[name],
            problems=[*_READ_BODY, errors.NotFound],
        ),
    )


def _account(request: Request) -> str:
    name: str = request.path_params["account"]
    if not name.isascii() or not name.isprintable():
        raise errors.NotFound("no such account")
    return name
