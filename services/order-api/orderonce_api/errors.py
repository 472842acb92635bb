"""Everything that can be said instead of a yes, as one tree. Clients key on `type`; each has a
page in errors_pages/.

ApiProblem
├── the sender: RequestInvalid, BodyInvalid, BodyTooLarge, MediaTypeUnsupported, NotFound,
│               MethodNotAllowed
├── who and what: CredentialsInvalid, NotPermitted, RateLimited
├── the key: KeyMissing, KeyInvalid, KeyReused, KeyExpired, KeyBusy
├── a business no: OrderDenied (burns the key), AccountExists, VenueUnproven, LastAdminKey,
│               LetterNotReplayable
└── ours: Unavailable (transient: the same request may be sent again), Internal
"""

from typing import Any, ClassVar

import orjson
from orderonce_shared.domain.reasons import REASON_TEXT, DenialCode

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ApiProblem(Exception):
    """One answer. `extensions` become members of the document, `headers` of the reply."""

    type: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        extensions: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions or {}
        self.headers = headers or {}

    def render(self, request_id: str) -> bytes:
        document: dict[str, Any] = {
            "type": f"/errors/{self.type}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.extensions,
        }
        return orjson.dumps(document)


class RequestInvalid(ApiProblem):
    type, status, title = "request-invalid", 400, "The request is malformed"

    def __init__(
        self, detail: str, errors: list[tuple[str, str]] | None = None, *, close: bool = False
    ) -> None:
        super().__init__(
            detail,
            extensions={"errors": _listed(errors)} if errors else None,
            headers={"Connection": "close"} if close else None,
        )


class BodyInvalid(ApiProblem):
    type, status, title = "body-invalid", 400, "The body is not what this route takes"

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__(
            "see errors: a pointer and a message each", extensions={"errors": _listed(errors)}
        )


class BodyTooLarge(ApiProblem):
    type, status, title = "body-too-large", 413, "The body is too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a body has at most {limit} bytes")


class MediaTypeUnsupported(ApiProblem):
    type, status, title = "media-type-unsupported", 415, "The body is not declared as JSON"

    def __init__(self) -> None:
        super().__init__("send Content-Type: application/json")


class NotFound(ApiProblem):
    type, status, title = "not-found", 404, "There is no such thing here"


class MethodNotAllowed(ApiProblem):
    type, status, title = "method-not-allowed", 405, "This path does not take this method"

    def __init__(self, allowed: str) -> None:
        super().__init__("see the Allow header", headers={"Allow": allowed} if allowed else None)


class CredentialsInvalid(ApiProblem):
    """Never says why: a guesser learns nothing."""

    type, status, title = "credentials-invalid", 401, "The API key is missing or not valid"

    def __init__(self) -> None:
        super().__init__(
            "send a living API key: Authorization: Bearer oo_test_…",
            headers={"WWW-Authenticate": "Bearer"},
        )


class NotPermitted(ApiProblem):
    type, status, title = "not-permitted", 403, "This API key may not do that"


class RateLimited(ApiProblem):
    type, status, title = "rate-limited", 429, "Too many requests for this API key"

    def __init__(self, per_second: int, retry_after_s: int) -> None:
        super().__init__(
            f"this key may place {per_second} orders per second; the idempotency key stays free",
            headers={"Retry-After": str(retry_after_s)},
        )


class KeyMissing(ApiProblem):
    type, status, title = "idempotency-key-missing", 400, "The Idempotency-Key header is missing"

    def __init__(self) -> None:
        super().__init__(
            "send a key of your own with each command, and the same one with each retry"
        )


class KeyInvalid(ApiProblem):
    type, status, title = "idempotency-key-invalid", 400, "The Idempotency-Key header is malformed"


class KeyReused(ApiProblem):
    type, status, title = "idempotency-key-reused", 422, "This key belongs to another request"

    def __init__(self, order_id: str, differs: tuple[str, ...]) -> None:
        super().__init__(
            "this idempotency key was used for a request that differs from this one;"
            " that one stands",
            extensions={"order_id": order_id, "differs": list(differs)},
        )


class KeyExpired(ApiProblem):
    type, status, title = "idempotency-key-expired", 422, "This key is older than its life"

    def __init__(self, order_id: str) -> None:
        super().__init__(
            "this idempotency key was used long ago and never executes again;"
            " ask for the order instead",
            extensions={"order_id": order_id},
        )


class KeyBusy(ApiProblem):
    type, status, title = "idempotency-busy", 409, "The same key is being decided at this moment"

    def __init__(self) -> None:
        super().__init__(
            "another request with this key has not ended yet; send the same request again",
            extensions={"transient": True},
            headers={"Retry-After": "1"},
        )


class OrderDenied(ApiProblem):
    type, status, title = "order-denied", 422, "The order was denied"

    def __init__(self, code: DenialCode, order_id: str) -> None:
        super().__init__(REASON_TEXT[code], extensions={"code": code.value, "order_id": order_id})


class AccountExists(ApiProblem):
    type, status, title = "account-exists", 409, "This account was admitted before"


class VenueUnproven(ApiProblem):
    type, status, title = "venue-unproven", 422, "This venue cannot be admitted"


class LetterNotReplayable(ApiProblem):
    type, status, title = "letter-not-replayable", 422, "This dead letter cannot be replayed"

    def __init__(self, topic: str) -> None:
        super().__init__(f"it does not say that it comes from a topic of ours, but from {topic!r}")


class LastAdminKey(ApiProblem):
    type, status, title = "last-admin-key", 409, "This is the last living admin key"

    def __init__(self) -> None:
        super().__init__("create another admin key first: without one nobody could halt an account")


class Unavailable(ApiProblem):
    """The key stays as it is: free, or decided by a statement whose answer was lost. The same
    request may be repeated and finds the truth.
    """

    type, status, title = "unavailable", 503, "Not at this moment"

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(
            detail,
            extensions={"transient": True},
            headers={"Retry-After": str(retry_after_s)},
        )


class Internal(ApiProblem):
    type, status, title = "internal", 500, "A fault of this service"

    def __init__(self) -> None:
        super().__init__(
            "the fault is in the log under this request_id; the same request may be sent again",
            extensions={"transient": True},
            headers={"Retry-After": "1"},
        )


def _listed(errors: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"pointer": pointer, "message": message} for pointer, message in errors]


PROBLEMS: tuple[type[ApiProblem], ...] = (
    RequestInvalid,
    BodyInvalid,
    BodyTooLarge,
    MediaTypeUnsupported,
    NotFound,
    MethodNotAllowed,
    CredentialsInvalid,
    NotPermitted,
    RateLimited,
    KeyMissing,
    KeyInvalid,
    KeyReused,
    KeyExpired,
    KeyBusy,
    OrderDenied,
    AccountExists,
    VenueUnproven,
    LastAdminKey,
    LetterNotReplayable,
    Unavailable,
    Internal,
)
