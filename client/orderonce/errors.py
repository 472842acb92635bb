"""What can go wrong, by what a bot does about it.

OrderonceError
├── NoAnswer         nothing is known: call again with the same intent or key
├── IntentDiffers    this intent was kept with another order: a bug in the bot
├── IntentOld        this intent grew old, is no order and never will be: decide anew
└── Refused          the API's own word, a problem document (`type` names it)
    ├── OrderDenied  a rule said no; the key is used up and the answer never changes
    └── KeyReused    this key made another order; `order_id` and `differs` tell which and how
"""

from collections.abc import Mapping
from typing import Any


class OrderonceError(Exception):
    """The root of all errors of this package."""


class NoAnswer(OrderonceError):
    """No answer that settles the request within the patience given, or a try without one was
    followed by a no at the door (the API key was revoked). It may have been accepted: the same
    call again is safe, another idempotency key is not.
    """


class IntentDiffers(OrderonceError):
    """An intent of this name was kept before, for another order. Nothing was sent."""


class IntentOld(OrderonceError):
    """An intent without `expires_at` that grew old before the API accepted it: the API would have
    given it a fresh deadline, and traded on an old idea. Its key is used up, as a denied order, so
    that nothing that is still on its way can make it one. Forget it, and decide anew.
    """


class Refused(OrderonceError):
    """The API refused. `type`: the problem's path (/errors/…); `status`: of HTTP; `members`:
    the whole document; docs/errors has a page for each type.
    """

    def __init__(self, status: int, members: Mapping[str, Any]) -> None:
        self.status = status
        self.members = dict(members)
        self.type = str(members.get("type", ""))
        self.title = str(members.get("title", "refused"))
        self.detail = str(members.get("detail", ""))
        self.request_id = members.get("request_id")
        super().__init__(f"{status} {self.title}: {self.detail}")


class OrderDenied(Refused):
    """A business rule of ours. `code` is stable (docs/reasons.md), `order_id` names the record."""

    @property
    def code(self) -> str:
        return str(self.members.get("code", ""))

    @property
    def order_id(self) -> str | None:
        return self.members.get("order_id")


class KeyReused(Refused):
    """The idempotency key belongs to another request."""

    @property
    def order_id(self) -> str | None:
        return self.members.get("order_id")

    @property
    def differs(self) -> list[str]:
        return list(self.members.get("differs") or [])


_BY_TYPE: dict[str, type[Refused]] = {
    "/errors/order-denied": OrderDenied,
    "/errors/idempotency-key-reused": KeyReused,
}


def refusal(status: int, members: Mapping[str, Any]) -> Refused:
    """The error of a problem document, by its type."""
    return _BY_TYPE.get(str(members.get("type")), Refused)(status, members)
