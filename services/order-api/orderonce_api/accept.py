"""VERB: accept a command exactly once. One statement for all that queued meanwhile: new, replay,
conflict, denied.

Order of things, and what a death means: look up (nothing happened) -> decide -> one autocommitted
statement with key, order and outbox row (before: nothing exists; after: everything does, and the
sweeper of any process publishes) -> hand to the relay -> answer. A sender that got no answer sends
the same again and gets the first one's bytes.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, assert_never

import orjson
from orderonce_shared.contracts.commands import Command, PlaceCommand, place_schema
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.order import Instrument
from orderonce_shared.domain.reasons import REASON_TEXT, DenialCode
from orderonce_shared.runtime.ids import new_order_id

from orderonce_api import core, errors, store
from orderonce_api.desk import Desk, PlaceAsk, Reply, settle
from orderonce_api.group_commit import GroupCommit
from orderonce_api.tally import What


class Placing:
    """POST /v1/orders."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._commits: GroupCommit[PlaceAsk, Reply] = GroupCommit(self._commit)
        self._took = desk.metrics.accept_s.labels("place")
        self._batch_size = desk.metrics.batch_size.labels("place")
        self._accepts = desk.metrics.accepts.labels("place")

    async def place(self, ask: PlaceAsk) -> Reply:
        """Raises ApiProblem for everything but an accept, a denial and a replay."""
        started = self._desk.clock.monotonic()
        span = self._desk.tracing.begin("accept", ask.traceparent, command="place")
        try:
            reply = await self._commits.submit(ask)
        except errors.ApiProblem as problem:
            span.end(error=problem.type)
            raise
        span.end(order_id=reply.order_id, replayed=reply.replayed)
        self._took.observe(self._desk.clock.monotonic() - started)
        return reply

    async def _commit(self, asks: Sequence[PlaceAsk]) -> list[Reply | Exception]:
        desk = self._desk
        found = await store.look_up(
            desk.writer,
            [(a.caller.client, a.key, a.terms.account, a.terms.symbol, a.caller.kid) for a in asks],
        )
        now: datetime = found[0]["now"]
        answers: list[Reply | Exception | None] = [None] * len(asks)
        leaders: dict[tuple[str, str], tuple[int, store.PlaceRow, PlaceCommand]] = {}
        known: dict[tuple[str, str], Instrument] = {}
        for position, (ask, row) in enumerate(zip(asks, found, strict=True)):
            if row["command_id"] is not None:
                answers[position] = settle(desk, ask, row, now)
            elif (ask.caller.client, ask.key) not in leaders:
                try:
                    line, command = _decide(desk, ask, row, now, known)
                except errors.ApiProblem as problem:
                    answers[position] = problem
                else:
                    leaders[ask.caller.client, ask.key] = (position, line, command)
        if leaders:
            await desk.failpoints.hit("accept_before_commit")
            kept = await store.accept(
                desk.writer,
                [line for _, line, _ in leaders.values()],
                version=core.FINGERPRINT_VERSION,
                now=now,
            )
            await desk.failpoints.hit("accept_after_commit")
            self._answer(asks, answers, leaders, kept, now)
        assert all(answer is not None for answer in answers)
        return [answer for answer in answers if answer is not None]

    def _answer(
        self,
        asks: Sequence[PlaceAsk],
        answers: list[Reply | Exception | None],
        leaders: dict[tuple[str, str], tuple[int, store.PlaceRow, PlaceCommand]],
        kept: dict[tuple[str, str], Any],
        now: datetime,
    ) -> None:
        """Winners get what they offered and go to the relay; twins in this batch and twins of
        another process get what the winner's row says.
        """
        desk = self._desk
        self._batch_size.observe(len(leaders))
        out: list[tuple[Command, str]] = []
        first = Counter[str]()
        for pair, (position, line, command) in leaders.items():
            row = kept[pair]
            if row["command_id"] != line.command_id:  # another process was first
                continue
            assert row["accept_seq"] is not None, "a key without its order"
            answers[position] = Reply(line.http_status, line.body, str(line.command_id), False)
            if line.denial_code is None:
                first[line.client] += 1
                update = {"accept_seq": row["accept_seq"], "timeline": row["timeline"]}
                out.append((command.model_copy(update=update), line.traceparent))
            else:
                desk.metrics.denials.labels(line.denial_code).inc()
                desk.tally.count(line.client, What.DENIAL)
        desk.relay.offer(out)
        self._accepts.inc(len(out))
        for client, count in first.items():
            desk.tally.count(client, What.FIRST_ACCEPT, count)
        for position, ask in enumerate(asks):
            if answers[position] is None:
                answers[position] = settle(desk, ask, kept[ask.caller.client, ask.key], now)


def _decide(
    desk: Desk, ask: PlaceAsk, row: Any, now: datetime, known: dict[tuple[str, str], Instrument]
) -> tuple[store.PlaceRow, PlaceCommand]:
    """A new key: the row to be written, accepted or denied. `known`: the instruments that this
    batch's look-up has shown so far. Raises ApiProblem where the key must stay free.
    """
    if not row["key_lives"]:
        raise errors.CredentialsInvalid
    if row["venue"] is None:
        raise errors.NotPermitted(f"this key may not trade on account {ask.terms.account}")
    deadline = ask.expires_at or desk.defaults.deadline(ask.terms, now)
    facts = core.Facts(now, row["halted"], row["venue_loaded"], _instrument(row, known))
    caps = core.Caps(ask.caller.max_quantity, ask.caller.max_notional)
    verdict = core.check(ask.terms, deadline, facts, caps)
    match verdict:
        case core.CannotTell(detail):
            raise errors.Unavailable(detail)
        case core.Deny(code):
            return _row(ask, row["venue"], deadline, now, code)
        case core.Pass():
            oldest = desk.line.oldest(ask.terms.account)
            if core.line_is_stuck(oldest, now, deadline, desk.line.limit):
                raise errors.Unavailable(
                    "commands are waiting to be taken up; this one could miss its deadline"
                )
            return _row(ask, row["venue"], deadline, now, None)
        case _:
            assert_never(verdict)


def _instrument(row: Any, known: dict[tuple[str, str], Instrument]) -> Instrument | None:
    name = row["venue"], row["symbol"]
    if name[1] is None:
        return None
    if name not in known:
        known[name] = _read_instrument(row)
    return known[name]


def _read_instrument(row: Any) -> Instrument:
    return Instrument(
        venue=row["venue"],
        symbol=row["symbol"],
        base=row["base"],
        quote=row["quote"],
        tick_size=row["tick_size"],
        step_size=row["step_size"],
        min_quantity=row["min_quantity"],
        max_quantity=row["max_quantity"],
        min_notional=row["min_notional"],
        reference_price=row["reference_price"],
        reference_at=row["reference_at"],
        quote_step=row["quote_step"],
    )


def _row(
    ask: PlaceAsk, venue: str, deadline: datetime, now: datetime, denied: DenialCode | None
) -> tuple[store.PlaceRow, PlaceCommand]:
    order_id = new_order_id()
    client, terms = ask.caller.client, ask.terms
    at_venue = client_order_id(client, ask.key)
    command = PlaceCommand(
        schema=place_schema(terms.quote_quantity),
        order_id=order_id,
        client=client,
        key=ask.key,
        key_id=ask.caller.kid,
        account=terms.account,
        venue=venue,
        symbol=terms.symbol,
        side=terms.side,
        type=terms.type,
        quantity=terms.quantity,
        quote_quantity=terms.quote_quantity,
        price=terms.price,
        time_in_force=terms.time_in_force,
        post_only=terms.post_only,
        client_tag=ask.client_tag,
        accepted_at=now,
        expires_at=deadline,
    )
    if denied is None:
        status, body = (
            202,
            orjson.dumps(
                {
                    "order_id": str(order_id),
                    "client_order_id": at_venue,
                    "status": "accepted",
                    "accepted_at": render_time(now),
                    "expires_at": render_time(deadline),
                }
            ),
        )
    else:
        problem = errors.OrderDenied(denied, str(order_id))
        status, body = problem.status, problem.render(ask.request_id)
    row = store.PlaceRow(
        client=client,
        key=ask.key,
        command_id=order_id,
        fingerprint=ask.print_,
        canonical=ask.canonical,
        http_status=status,
        body=body,
        key_id=ask.caller.kid,
        account=terms.account,
        venue=venue,
        symbol=terms.symbol,
        side=terms.side.value,
        type=terms.type.value,
        quantity=terms.quantity,
        price=terms.price,
        time_in_force=terms.time_in_force.value,
        post_only=terms.post_only,
        client_tag=ask.client_tag,
        client_order_id=at_venue,
        payload_hash=command.payload_hash(),
        traceparent=ask.traceparent,
        deadline=deadline,
        denial_code=None if denied is None else denied.value,
        denial_detail=None if denied is None else REASON_TEXT[denied],
        schema=command.schema_,
        quote_quantity=terms.quote_quantity,
    )
    return row, command
