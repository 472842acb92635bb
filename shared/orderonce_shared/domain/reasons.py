"""The closed list of reason codes: why an order ended without a fill. Public names; one is never
reused.

denied = refused by us; rejected = refused by the venue; lapsed = deadline passed unsent; not placed
= proven absent.
"""

from enum import StrEnum


class DenialCode(StrEnum):
    """Business denials in order of precedence: the first that applies is the answer."""

    KEY_REVOKED = "key-revoked"
    SYMBOL_UNKNOWN = "symbol-unknown"
    EXPIRES_IN_PAST = "expires-in-past"
    ACCOUNT_HALTED = "account-halted"
    QUANTITY_STEP = "quantity-step"
    QUANTITY_MIN = "quantity-min"
    QUANTITY_MAX = "quantity-max"
    PRICE_TICK = "price-tick"
    QUOTE_QUANTITY_STEP = "quote-quantity-step"
    NOTIONAL_MIN = "notional-min"
    QUANTITY_CAP = "quantity-cap"
    NOTIONAL_CAP = "notional-cap"


class EndingCode(StrEnum):
    """Why an accepted order ended (reason.code of lapsed, canceled, rejected, not_placed) or stays
    unknown.
    """

    DEADLINE_PASSED = "deadline-passed"
    ATTEMPTS_EXHAUSTED = "attempts-exhausted"
    CANCELED_BY_CLIENT = "canceled-by-client"
    CANCELED_AT_VENUE = "canceled-at-venue"
    VENUE_EXPIRED = "venue-expired"
    VENUE_REJECTED = "venue-rejected"
    PROVEN_ABSENT = "proven-absent"
    NO_WORD_FROM_VENUE = "no-word-from-venue"


REASON_TEXT: dict[DenialCode | EndingCode, str] = {
    DenialCode.KEY_REVOKED: "the API key that asked was revoked before the order was sent",
    DenialCode.SYMBOL_UNKNOWN: "the account's venue does not list this symbol",
    DenialCode.EXPIRES_IN_PAST: "expires_at is not in the future",
    DenialCode.ACCOUNT_HALTED: "the account is halted",
    DenialCode.QUANTITY_STEP: "quantity is not a multiple of the step size",
    DenialCode.QUANTITY_MIN: "quantity is below the venue's minimum",
    DenialCode.QUANTITY_MAX: "quantity is above the venue's maximum",
    DenialCode.PRICE_TICK: "price is not a multiple of the tick size",
    DenialCode.QUOTE_QUANTITY_STEP: "quote_quantity is finer than the venue takes",
    DenialCode.NOTIONAL_MIN: "price times quantity is below the venue's minimum",
    DenialCode.QUANTITY_CAP: "quantity is above the cap of this API key",
    DenialCode.NOTIONAL_CAP: "price times quantity is above the cap of this API key",
    EndingCode.DEADLINE_PASSED: "the deadline passed before the order could be sent",
    EndingCode.ATTEMPTS_EXHAUSTED: "every attempt was refused before processing",
    EndingCode.CANCELED_BY_CLIENT: "canceled on request",
    EndingCode.CANCELED_AT_VENUE: "canceled at the venue, not by a command of ours",
    EndingCode.VENUE_EXPIRED: "ended by the venue's own rule (IOC or FOK remainder, expiry)",
    EndingCode.VENUE_REJECTED: "refused by the venue",
    EndingCode.PROVEN_ABSENT: "the venue was proven not to have the order",
    EndingCode.NO_WORD_FROM_VENUE: "sent, and the venue's answer is not known yet",
}
