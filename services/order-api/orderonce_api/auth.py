"""Who is asking, and may they: deny by default, in one place.

Rate limits are per process: with N processes a key may reach N times its limit for a moment.
"""

from dataclasses import dataclass, field

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from orderonce_shared.runtime.bearer import EVERY_ACCOUNT, Bearer, Caller, CredentialsInvalidError
from orderonce_shared.runtime.logs import Logger
from starlette.requests import Request

from orderonce_api import errors, store
from orderonce_api.incoming import header


@dataclass(slots=True)
class Gate:
    bearer: Bearer
    log: Logger
    _limiter: MovingWindowRateLimiter = field(
        default_factory=lambda: MovingWindowRateLimiter(MemoryStorage())
    )
    _items: dict[int, RateLimitItem] = field(default_factory=dict)

    async def caller(self, request: Request, scope: str | None) -> Caller:
        """The caller, with the right that the route needs. Raises CredentialsInvalid, NotPermitted
        or Unavailable.
        """
        try:
            caller = await store.identify(self.bearer, header(request, b"authorization"))
        except CredentialsInvalidError as error:
            self.log.info("credentials-invalid", audit=True, reason=error.reason)
            raise errors.CredentialsInvalid from None
        except store.StoreError as error:
            raise errors.Unavailable("the database is away") from error
        if scope is not None and not caller.may(scope):
            raise errors.NotPermitted(f"this needs the scope {scope}")
        return caller

    def count(self, caller: Caller) -> None:
        """One order more for this key. Raises RateLimited."""
        per_second = caller.orders_per_second
        if per_second is None:
            return
        item = self._items.setdefault(per_second, RateLimitItemPerSecond(per_second))
        if not self._limiter.hit(item, caller.kid):
            raise errors.RateLimited(per_second, retry_after_s=1)


def visible_accounts(caller: Caller) -> list[str] | None:
    """None is every account."""
    return None if EVERY_ACCOUNT in caller.accounts else sorted(caller.accounts)


def require_account(caller: Caller, account: str | None) -> None:
    if account is not None and not caller.sees(account):
        raise errors.NotFound("no such account")
