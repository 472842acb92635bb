"""PURE: from what came back to a verdict. An allow-list of "nothing was placed"; everything else is
Silence.

The judge is the raw answer (HTTP status and body), read with the venue's evidence row. ccxt's
exception classes are not asked: they mix refusals with cut connections, and the message of one
would carry the signed address.
"""

from dataclasses import replace
from typing import Any, assert_never

from orderonce_shared.domain.venue import (
    Acknowledged,
    CancelVerdict,
    CannotAsk,
    DuplicateId,
    Found,
    NoSuchOrder,
    PlaceRequest,
    PlaceVerdict,
    Raw,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
)
from orderonce_shared.venues.evidence import Ruling, VenueEvidence, WordRule
from orderonce_shared.venues.spot import Unreadable, read_immediate_fills, read_order
from orderonce_shared.venues.wire import Passage, read_json, scrub


class VenueUnreachable(Exception):
    """A question got no usable answer. `code` is the venue's error code where it sent one; `raw` is
    fit to be kept.
    """

    def __init__(
        self, detail: str, raw: Raw, *, code: int | None = None, pause_ms: int = 0
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.raw = raw
        self.code = code
        self.pause_ms = pause_ms


def venue_error(data: Any) -> tuple[int, str] | None:
    """(code, message) of the venue's error document; None for anything else."""
    if isinstance(data, dict):
        code, message = data.get("code"), data.get("msg")
        if isinstance(code, int) and not isinstance(code, bool) and isinstance(message, str):
            return code, message
    return None


def raw_evidence(passage: Passage, secrets: tuple[str, ...]) -> Raw:
    """What came back, fit to be kept: no key, no signature, no control characters, bounded."""
    body: Any = None
    if passage.text is not None:
        text = scrub(passage.text, secrets)
        parsed = read_json(text)
        body = text if parsed is None else parsed
    return {"http": passage.status, "body": body, "error": passage.error}


def describe(passage: Passage, secrets: tuple[str, ...]) -> str:
    """One line for people: where it ended, with the venue's own words if there are any."""
    if passage.status is None:
        return passage.error or "no answer"
    error = venue_error(read_json(passage.text))
    words = "" if error is None else scrub(f": {error[0]} {error[1]}", secrets)
    return f"HTTP {passage.status}{words}"


def rule_of(evidence: VenueEvidence, status: int, data: Any) -> tuple[str, WordRule] | None:
    """The word that was heard and its rule; None when it proves nothing: 5xx, 3xx, unknown codes,
    no code.
    """
    if not 400 <= status <= 499:
        return None  # also for known codes: with 5xx "the execution status is unknown" [doc]
    error = venue_error(data)
    if error is not None:
        rule = evidence.codes.get(error[0])
        if rule is not None and rule.ruling is Ruling.BY_TEXT:
            rule = replace(rule, ruling=evidence.texts.get(error, Ruling.SILENCE))
        return None if rule is None else (str(error[0]), rule)
    http = evidence.http.get(status)
    return None if http is None else (f"http-{status}", http)


def hear_place(
    evidence: VenueEvidence, request: PlaceRequest, passage: Passage, secrets: tuple[str, ...]
) -> PlaceVerdict:
    """The verdict on one create. Total: whatever came back, one of the six."""
    if passage.surely_unsent:
        return Unsent(passage.error or "not sent", unreachable=passage.dialled)
    if passage.status is None:
        return Silence(describe(passage, secrets), raw_evidence(passage, secrets))
    data = read_json(passage.text)
    wrong = ""
    if 200 <= passage.status <= 299:
        try:
            return _acknowledged(request, data)
        except Unreadable as error:
            wrong = f": {error}"
    detail, raw = describe(passage, secrets) + wrong, raw_evidence(passage, secrets)
    heard = rule_of(evidence, passage.status, data)
    if heard is None:
        return Silence(detail, raw)
    code, rule = heard
    match rule.ruling:
        case Ruling.REFUSED:
            return Refused(code=code, detail=detail, raw=raw)
        case Ruling.UNPROCESSED:
            pause_ms = max(rule.pause_ms, passage.retry_after_ms or 0)
            return RefusedUnprocessed(code, detail, raw, pause_ms, rule.clock_is_off)
        case Ruling.DUPLICATE:
            return DuplicateId(detail, raw)
        case Ruling.BY_TEXT | Ruling.SILENCE:
            return Silence(detail, raw)
        case unreachable:
            assert_never(unreachable)


def _acknowledged(request: PlaceRequest, data: Any) -> Acknowledged:
    order = read_order(data, request.terms.symbol, request.client_order_id, "clientOrderId")
    fills = read_immediate_fills(order)
    return Acknowledged(replace(order, fills=fills) if fills else order)


def hear_cancel(
    evidence: VenueEvidence,
    symbol: str,
    client_order_id: str,
    passage: Passage,
    secrets: tuple[str, ...],
) -> CancelVerdict:
    """The verdict on one cancel. Only the venue's one documented sentence counts as "no such
    order".
    """
    detail, raw = describe(passage, secrets), raw_evidence(passage, secrets)
    if passage.status is None:
        return CannotAsk(detail, raw)
    data = read_json(passage.text)
    if 200 <= passage.status <= 299:
        try:
            return Found(read_order(data, symbol, client_order_id, "origClientOrderId"))
        except Unreadable as error:
            return CannotAsk(f"{detail}: {error}", raw)
    if 400 <= passage.status <= 499 and venue_error(data) == evidence.cancel_not_found:
        return NoSuchOrder(raw)
    return CannotAsk(detail, raw)


def hear_question(evidence: VenueEvidence, passage: Passage, secrets: tuple[str, ...]) -> Any:
    """The body of a read's answer, parsed; raises VenueUnreachable for everything but 2xx with
    JSON.
    """
    data = read_json(passage.text) if passage.status is not None else None
    if passage.status is not None and 200 <= passage.status <= 299 and data is not None:
        return data
    error = venue_error(data) if passage.status and 400 <= passage.status <= 499 else None
    pause_ms = passage.retry_after_ms or 0
    heard = rule_of(evidence, passage.status or 0, data)
    if heard is not None and heard[1].ruling is Ruling.UNPROCESSED:
        pause_ms = max(pause_ms, heard[1].pause_ms)
    raise VenueUnreachable(
        describe(passage, secrets),
        raw_evidence(passage, secrets),
        code=None if error is None else error[0],
        pause_ms=pause_ms,
    )
