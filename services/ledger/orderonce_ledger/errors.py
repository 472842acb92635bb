"""What the ledger's HTTP door says instead of a yes: problem documents (RFC 9457). Clients key on
`type`.

Problem
├── sender's fault: RequestInvalid, BodyInvalid, BodyTooLarge, NotFound, MethodNotAllowed
├── who and what: CredentialsInvalid, NotPermitted
└── ours: Unavailable (transient: ask again)
"""

from typing import Any, ClassVar

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


ALL: tuple[type[Problem], ...] = (
    RequestInvalid,
    BodyInvalid,
    BodyTooLarge,
    NotFound,
    MethodNotAllowed,
    CredentialsInvalid,
    NotPermitted,
    Unavailable,
)
