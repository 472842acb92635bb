"""What the ledger's HTTP door says instead of a yes: problem documents (RFC 9457). Clients key on
`type`.

Problem
├── sender's fault: RequestInvalid, BodyInvalid, BodyTooLarge, NotFound, MethodNotAllowed
├── who and what: CredentialsInvalid, NotPermitted
└── ours: Unavailable (transient: ask again), Internal
"""

from typing import Any, ClassVar

from orderonce_shared.contracts.wire import loads_strict

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """One answer. `extensions` become members of the document, `headers` of the reply."""

    type: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions

    def document(self, request_id: str) -> dict[str, Any]:
        return {
            "type": f"/errors/{self.type}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.extensions,
        }


class RequestInvalid(Problem):
    type, status, title = "request-invalid", 400, "The request is malformed"


class BodyInvalid(Problem):
    type, status, title = "body-invalid", 400, "The body is not what this route takes"


class BodyTooLarge(Problem):
    type, status, title = "body-too-large", 413, "The body is too large"


class NotFound(Problem):
    type, status, title = "not-found", 404, "There is no such thing, or not for this key"


class MethodNotAllowed(Problem):
    type, status, title = "method-not-allowed", 405, "This route does not take that method"


class CredentialsInvalid(Problem):
    type, status, title = "credentials-invalid", 401, "The API key is not valid"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class NotPermitted(Problem):
    type, status, title = "not-permitted", 403, "The API key may not do this"


class Unavailable(Problem):
    type, status, title = "unavailable", 503, "Not now: ask again"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self, detail: str) -> None:
        super().__init__(detail, transient=True)


class Internal(Problem):
    type, status, title = "internal", 500, "An error of ours"


ALL: tuple[type[Problem], ...] = (
    RequestInvalid,
    BodyInvalid,
    BodyTooLarge,
    NotFound,
    MethodNotAllowed,
    CredentialsInvalid,
    NotPermitted,
    Unavailable,
    Internal,
)

# The answers of every route that are not 200, for the OpenAPI document.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": " or ".join(p.type for p in ALL if p.status == status),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in sorted({problem.status for problem in ALL})
}


def asked_account(raw: bytes) -> str | None:
    """The body of POST /v1/reconciliations: nothing, or {"account": NAME}."""
    if not raw:
        return None
    try:
        body = loads_strict(raw)
    except ValueError as error:
        raise _bad_body("", str(error)) from None
    if not isinstance(body, dict) or body.keys() - {"account"}:
        raise _bad_body("", "an object with `account`, or nothing")
    account = body.get("account")
    if account is not None and not isinstance(account, str):
        raise _bad_body("/account", "account is text")
    return account


def _bad_body(pointer: str, message: str) -> BodyInvalid:
    return BodyInvalid(
        "see errors: a pointer and a message each",
        errors=[{"pointer": pointer, "message": message}],
    )
