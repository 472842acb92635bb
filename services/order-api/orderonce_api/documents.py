"""The OpenAPI documents: what each route takes and answers stands beside the route and is put
together here.

Deterministic: the rendered text is committed, and a stale one fails a test.
"""

import json
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from orderonce_shared.contracts.http import Body, Problem, Shown
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.responses import Response

from orderonce_api import errors

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"

KEY_HEADER: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "16 to 64 of A-Z a-z 0-9 _ . : -, bare or as a quoted structured-field string."
    " The same key with the same request is answered with the same bytes; one key space per client"
    " over all commands.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{16,64}$"},
}
TRACE_HEADER: Json = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "W3C trace context; continued up to the venue and the ledger.",
    "schema": {"type": "string"},
}
PREFER_HEADER: Json = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N` (RFC 7240): hold the answer of a first accept back for up to N"
    " seconds, at most 5, and answer 200 with the order if it has settled by then: ended, or open"
    " if it may rest in the book; for a cancel: ended. `Preference-Applied` tells whether it was"
    " waited for. A retry is answered with the acceptance.",
    "schema": {"type": "string", "examples": ["wait=2"]},
}
REQUEST_ID: Json = {
    "description": "Of this reply; stands in the log.",
    "schema": {"type": "string"},
}
ACCEPT_HEADERS: Json = {
    "Location": {"description": "Where the order stands.", "schema": {"type": "string"}},
    "Idempotency-Key": {"description": "The request's key.", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "`true` on the answer to a retry.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "`wait=N` when the answer was held back for the order to settle.",
        "schema": {"type": "string"},
    },
}
_RETRY_AFTER: Json = {"description": "Seconds.", "schema": {"type": "integer"}}
_EVERYWHERE = (errors.RequestInvalid, errors.Internal)
_AUTHENTICATED = (errors.CredentialsInvalid, errors.NotPermitted, errors.Unavailable)


def path_parameter(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
    }


def query_parameter(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema,
    }


def operation(
    summary: str,
    answer: type[BaseModel],
    *,
    status: int = 200,
    scope: str | None = None,
    public: bool = False,
    body: type[Body] | None = None,
    body_required: bool = True,
    parameters: Iterable[Json] = (),
    problems: Iterable[type[errors.ApiProblem]] = (),
    headers: Json | None = None,
    settled: type[BaseModel] | None = None,
) -> Json:
    """Keyword arguments of `add_api_route`. `settled`: what a 200 carries where 202 is the rule."""
    told = [*_EVERYWHERE, *problems, *(() if public else _AUTHENTICATED)]
    responses: dict[int, Json] = {
        status: {
            "description": "Done" if status != 202 else "Accepted, durably",
            "headers": {"X-Request-Id": REQUEST_ID, **(headers or {})},
            "content": {"application/json": {"schema": _ref(answer)}},
        }
    }
    if settled is not None:
        responses[200] = {
            **responses[status],
            "description": "Settled within the time that `Prefer: wait` gave",
            "content": {"application/json": {"schema": _ref(settled)}},
        }
    for code in sorted({problem.status for problem in told}):
        responses[code] = _problem_response([p for p in told if p.status == code])
    extra: Json = {"parameters": list(parameters)}
    if body is not None:
        extra["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": _ref(body)}},
        }
    if not public:
        extra["security"] = [{"bearer": []}]
    return {
        "summary": summary,
        "description": f"Scope: `{scope}`." if scope else "",
        "status_code": status,
        "response_model": None,
        "response_class": Response,
        "responses": responses,
        "openapi_extra": extra,
    }


def add_get(
    app: FastAPI,
    path: str,
    endpoint: Any,
    summary: str,
    answer: type[BaseModel],
    parameters: list[Json],
) -> None:
    """A route that reads, with the scope of readers."""
    app.add_api_route(
        path,
        endpoint,
        methods=["GET"],
        operation_id=endpoint.__name__,
        **operation(
            summary, answer, scope="orders:read", parameters=parameters, problems=[errors.NotFound]
        ),
    )


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def _problem_response(problems: list[type[errors.ApiProblem]]) -> Json:
    headers: Json = {"X-Request-Id": REQUEST_ID}
    if problems[0].status in (409, 429, 503):
        headers["Retry-After"] = _RETRY_AFTER
    if problems[0].status == 401:
        headers["WWW-Authenticate"] = {"description": "Bearer", "schema": {"type": "string"}}
    names = sorted({problem.type for problem in problems})
    kinds = [f"/errors/{name}" for name in names]
    schema: Json = {
        "allOf": [_ref(Problem), {"properties": {"type": {"type": "string", "enum": kinds}}}]
    }
    return {
        "description": ", ".join(names),
        "headers": headers,
        "content": {errors.PROBLEM_MEDIA_TYPE: {"schema": schema}},
    }


def render(app: FastAPI) -> str:
    """The document of one port, as text."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        openapi_version="3.1.0",
    )
    text = json.dumps(document["paths"])
    components = _schemas(text)
    document["components"] = {
        "schemas": dict(sorted(components.items())),
        "securitySchemes": {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "`oo_test_…`, made with `orderonce key create`.",
            }
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schemas(paths: str) -> Json:
    """Definitions of every model that the paths or each other refer to."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *_in_mode(_kinds_of(Body), "validation"),
        *_in_mode([*_kinds_of(Shown), Problem], "serialization"),
    ]
    _, definitions = models_json_schema(models, ref_template=_REF)
    found: Json = definitions["$defs"]
    wanted: Json = {}
    todo = [name for name in found if f"schemas/{name}" in paths]
    while todo:
        name = todo.pop()
        wanted[name] = found[name]
        inside = json.dumps(found[name])
        todo += [n for n in found if f'schemas/{n}"' in inside and n not in wanted]
    return wanted


def _kinds_of(base: type[BaseModel]) -> list[type[BaseModel]]:
    return [kind for direct in base.__subclasses__() for kind in (direct, *_kinds_of(direct))]


def _in_mode(
    kinds: list[type[BaseModel]], mode: JsonSchemaMode
) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    return [(kind, mode) for kind in kinds]
