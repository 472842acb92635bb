"""The door to one account at one venue: places, finds, cancels, reads. The only module that makes
ccxt act.

Theory of operation. `place` answers with what the venue's words prove, and never raises: whatever
goes wrong after a connection was held is Silence, whatever went wrong before it is Unsent. It calls
ccxt's *implicit* endpoint (`private_post_order`), not `create_order`: ccxt signs, and sends through
the fenced `fetch`, but nothing rounds or guesses between the stored terms and the signed text (see
spot.py), and it costs less than half. Nothing here retries a create. Reads sign the venue's own
time: its clock as last heard plus our monotonic clock.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Self

import orjson

from orderonce_shared.domain.order import Instrument
from orderonce_shared.domain.venue import (
    CancelVerdict,
    CannotAsk,
    FindVerdict,
    PlaceRequest,
    PlaceVerdict,
    Unsent,
    VenueFill,
)
from orderonce_shared.venues.credentials import Credential
from orderonce_shared.venues.errors import (
    VenueUnreachable,
    hear_cancel,
    hear_place,
    hear_question,
    venue_error,
)
from orderonce_shared.venues.evidence import VenueEvidence, evidence_for
from orderonce_shared.venues.exchange import build_exchange, checked_base
from orderonce_shared.venues.fence import STAMP, FenceError, Stamp
from orderonce_shared.venues.ladder import as_rows, climb, fills_of_order, read_trades
from orderonce_shared.venues.spot import (
    BadRequest,
    Unreadable,
    place_parameters,
    read_balance,
    read_instrument,
    read_mid_price,
    venue_symbol,
)
from orderonce_shared.venues.wire import PASSAGE, Passage, Session, read_json

__all__ = ["Door", "ReadOnlyDoor", "VenueUnreachable"]

CLOCK_LIFE_S = 60.0  # after this the venue's time is asked again before a signed read: clocks drift
SEND_WITHIN = 0.5  # of the window: later than this, a create is not begun (rule R5)


class ReadOnlyDoor(RuntimeError):
    """A door for reading was asked to place or cancel: an error of ours, nothing was sent."""


class Door:
    """One (venue, account). Made by `open`, ended by `close`; safe for any number of concurrent
    calls.
    """

    def __init__(
        self,
        evidence: VenueEvidence,
        credential: Credential,
        session: Session,
        monotonic: Callable[[], float],
        *,
        read_only: bool,
    ) -> None:
        self.evidence = evidence
        self.account = credential.account
        self.read_only = read_only
        self._secrets = (credential.secret.reveal(), credential.api_key.reveal())
        self._session = session
        self._monotonic = monotonic
        self._clock: tuple[int, float] | None = None  # (venue's time in ms, ours when it was heard)
        self._exchange: Any = None

    @classmethod
    async def open(
        cls,
        venue: str,
        account: str,
        credential: Credential,
        *,
        base_url: str | None,
        monotonic: Callable[[], float],
        timeout_ms: int = 5000,
        read_only: bool = False,
    ) -> Self:
        """Sends nothing. `base_url` is scheme://host[:port]; None is the venue's own address.

        Raises UnknownVenue, or ValueError for a credential of another account or venue, or a
        base_url that would carry the key in the clear.
        """
        evidence = evidence_for(venue)
        if (credential.venue, credential.account) != (venue, account):
            raise ValueError(f"the credential is not for {account} at {venue}")
        base = checked_base(evidence, base_url)
        if timeout_ms <= 0:
            raise ValueError("timeout_ms is above zero")
        session = Session()
        door = cls(evidence, credential, session, monotonic, read_only=read_only)
        door._exchange = build_exchange(
            credential, session, base, timeout_ms, door._venue_now_ms, monotonic
        )
        return door

    def __repr__(self) -> str:
        return f"Door(venue={self.evidence.venue!r}, account={self.account!r})"

    async def close(self) -> None:
        """Ends all connections; requests under way fail."""
        self._exchange.posts.close()
        await self._exchange.close()
        await self._session.close()

    async def place(self, request: PlaceRequest) -> PlaceVerdict:
        """Sends one create, once, with exactly the request's stamp, window, id and terms.

        Ends within the time-out. Never raises but for CancelledError and ReadOnlyDoor.
        """
        self._must_write()
        not_after = self._monotonic() + SEND_WITHIN * request.window_ms / 1_000
        try:
            if request.account != self.account:
                raise BadRequest("the request is for another account")
            parameters = place_parameters(request, self.evidence)
        except Exception as error:  # nothing is signed yet: whatever it is, nothing was sent
            return Unsent(_names(error))
        stamp = Stamp(request.signed_at_ms, parameters, not_after)
        passage = await self._send("send_create", parameters, stamp)
        return hear_place(self.evidence, request, passage, self._secrets)

    async def find(
        self, terms_symbol: str, client_order_id: str, *, signed_at_ms: int
    ) -> FindVerdict:
        """The whole ladder. Absent only if every rung answered and none knew the order. Never
        raises.
        """
        try:
            return await climb(
                self._ask, self.evidence, terms_symbol, client_order_id, signed_at_ms
            )
        except Exception as error:
            return CannotAsk(_names(error), {})

    async def cancel(self, symbol: str, client_order_id: str) -> CancelVerdict:
        """Cancels by client id, signed with the venue's time of now. Never raises but for
        ReadOnlyDoor.

        Found carries the order as it stands; it is final at once where the evidence says so
        (`cancel_is_final`).
        """
        self._must_write()
        try:
            parameters = {"symbol": venue_symbol(symbol), "origClientOrderId": client_order_id}
            passage = await self._signed("private_delete_order", parameters)
            return hear_cancel(self.evidence, symbol, client_order_id, passage, self._secrets)
        except VenueUnreachable as error:
            return CannotAsk(error.detail, error.raw)
        except Exception as error:
            return CannotAsk(_names(error), {})

    async def order_fills(self, symbol: str, venue_order_id: str) -> list[VenueFill]:
        """All trades of one order, ordered by trade id; raises VenueUnreachable."""
        return await fills_of_order(self._ask, self.evidence, symbol, venue_order_id)

    async def trades(
        self,
        symbol: str,
        *,
        from_id: str | None = None,
        since_ms: int | None = None,
        limit: int = 1000,
    ) -> list[VenueFill]:
        """One page of the account's trades, ordered by trade id: from `from_id` on, or since a time
        of the venue.

        With neither: the newest page. Raises VenueUnreachable, and ValueError for both at once or a
        limit out of range.
        """
        if from_id is not None and since_ms is not None:
            raise ValueError("from_id or since_ms, not both")
        if not 1 <= limit <= self.evidence.page_rows:
            raise ValueError(f"limit is 1 to {self.evidence.page_rows}")
        parameters: dict[str, Any] = {"limit": limit}
        if from_id is not None:
            parameters["fromId"] = int(from_id)
        if since_ms is not None:
            parameters["startTime"] = since_ms
        return await read_trades(self._ask, symbol, parameters)

    async def time_ms(self) -> int:
        """The venue's clock now, in milliseconds since 1970; raises VenueUnreachable."""
        data = await self._ask_unsigned("public_get_time", {})
        value = data.get("serverTime") if isinstance(data, dict) else None
        if not isinstance(value, int) or value <= 0:
            raise VenueUnreachable("the venue did not tell its time", {})
        # Counted from the answer's arrival, it runs behind the venue by the way back, never ahead
        # of it.
        self._clock = (value, self._monotonic())
        return value

    async def instruments(self) -> list[Instrument]:
        """All symbols that trade now, by name, without prices; raises VenueUnreachable."""
        data = await self._ask_unsigned("public_get_exchangeinfo", {})
        rows = as_rows(data.get("symbols") if isinstance(data, dict) else None)
        try:
            read = [read_instrument(row, self.evidence.venue) for row in rows]
        except Unreadable as error:
            raise VenueUnreachable(f"instruments: {error}", {}) from None
        return sorted((one for one in read if one is not None), key=lambda one: one.symbol)

    async def reference_prices(self, symbols: Iterable[str]) -> dict[str, Decimal]:
        """Mid of best bid and ask by symbol, one request for all; a symbol with an empty side is
        left out.

        Raises VenueUnreachable.
        """
        wanted = {venue_symbol(symbol): symbol for symbol in symbols}
        if not wanted:
            return {}
        asked = orjson.dumps(sorted(wanted)).decode()
        rows = as_rows(await self._ask_unsigned("public_get_ticker_bookticker", {"symbols": asked}))
        try:
            mids = {row.get("symbol", ""): read_mid_price(row) for row in rows}
        except Unreadable as error:
            raise VenueUnreachable(f"reference prices: {error}", {}) from None
        return {
            symbol: mid for name, symbol in wanted.items() if (mid := mids.get(name)) is not None
        }

    async def balances(self) -> dict[str, Decimal]:
        """Total (free and locked) by asset, zero balances left out; raises VenueUnreachable."""
        account = await self._account()
        try:
            rows = [read_balance(row) for row in as_rows(account.get("balances"))]
        except Unreadable as error:
            raise VenueUnreachable(f"balances: {error}", {}) from None
        return {asset: total for asset, total in rows if total != 0}

    async def uid(self) -> str:
        """The venue's own id of the user behind the key; raises VenueUnreachable."""
        value = (await self._account()).get("uid")
        if not isinstance(value, int) or isinstance(value, bool):
            raise VenueUnreachable("the account has no uid", {})
        return str(value)

    async def _account(self) -> Mapping[str, Any]:
        data = await self._ask("private_get_account", {"omitZeroBalances": "true"})
        if not isinstance(data, dict):
            raise VenueUnreachable("not an account", {})
        return data

    def _must_write(self) -> None:
        if self.read_only:
            raise ReadOnlyDoor(f"{self!r} was opened for reading")

    def _venue_now_ms(self) -> int:
        assert self._clock is not None, "a signed read asks for the venue's time first"
        heard_ms, heard_at = self._clock
        return heard_ms + int((self._monotonic() - heard_at) * 1_000)

    async def _ask_unsigned(self, endpoint: str, parameters: dict[str, Any]) -> Any:
        passage = await self._send(endpoint, parameters, None)
        return hear_question(self.evidence, passage, self._secrets)

    async def _ask(self, endpoint: str, parameters: dict[str, Any]) -> Any:
        passage = await self._signed(endpoint, parameters)
        return hear_question(self.evidence, passage, self._secrets)

    async def _signed(self, endpoint: str, parameters: dict[str, Any]) -> Passage:
        """One signed read or cancel. A refusal because of its time was not processed: clock asked,
        sent once more.
        """
        if self._clock is None or self._monotonic() - self._clock[1] > CLOCK_LIFE_S:
            await self.time_ms()
        passage = await self._send(endpoint, parameters, None)
        if passage.status is not None and 400 <= passage.status <= 499:
            error = venue_error(read_json(passage.text))
            if error is None or error[0] != self.evidence.clock_off_code:
                return passage
            await self.time_ms()
            passage = await self._send(endpoint, parameters, None)
        return passage

    async def _send(
        self, endpoint: str, parameters: Mapping[str, Any], stamp: Stamp | None
    ) -> Passage:
        """One request, once. Nothing but CancelledError comes out: what went wrong is in the
        passage.
        """
        passage = Passage()
        passage_token, stamp_token = PASSAGE.set(passage), STAMP.set(stamp)
        try:
            await getattr(self._exchange, endpoint)(dict(parameters))
        except Exception as error:
            passage.error = _names(error)
        finally:
            PASSAGE.reset(passage_token)
            STAMP.reset(stamp_token)
        return passage


def _names(error: BaseException) -> str:
    """The error for evidence: our own sentences in full, of others the class names alone (they
    quote signatures).
    """
    if isinstance(error, FenceError | BadRequest):
        return str(error)
    cause = error.__cause__
    return type(error).__name__ + ("" if cause is None else f" from {type(cause).__name__}")
