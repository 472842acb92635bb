"""VERB: accept a cancel exactly once, as a command with a key of its own.

The same order of things as in accept.py: look up -> one autocommitted statement -> hand to the
relay -> answer, with the same meaning of a death in between.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from orderonce_shared.contracts.commands import CancelCommand, Command
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.runtime.ids import new_order_id

from orderonce_api import core, errors, store
from orderonce_api.desk import CancelAsk, Desk, Reply, settle
from orderonce_api.group_commit import GroupCommit
from orderonce_api.tally import What


class Canceling:
    """POST /v1/orders/{order_id}/cancel: a command with a key of its own, in the same key space.
    It is accepted for a final order too, where it changes nothing; halted accounts may cancel.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._commits: GroupCommit[CancelAsk, Reply] = GroupCommit(self._commit)

    async def cancel(self, ask: CancelAsk) -> Reply:
        """Raises ApiProblem for everything but an accept and a replay."""
        started = self._desk.clock.monotonic()
        span = self._desk.tracing.begin("accept", ask.traceparent, command="cancel")
        try:
            reply = await self._commits.submit(ask)
        except errors.ApiProblem as problem:
            span.end(error=problem.type)
            raise
        span.end(order_id=reply.order_id, replayed=reply.replayed)
        self._desk.metrics.accept_s.labels("cancel").observe(self._desk.clock.monotonic() - started)
        return reply

    async def _commit(self, asks: Sequence[CancelAsk]) -> list[Reply | Exception]:
        desk = self._desk
        found = await store.look_up_cancels(
            desk.writer, [(a.caller.client, a.key, a.order_id, a.caller.kid) for a in asks]
        )
        now: datetime = found[0]["now"]
        answers: list[Reply | Exception | None] = [None] * len(asks)
        leaders: dict[tuple[str, str], tuple[int, store.CancelRow, Any]] = {}
        for position, (ask, row) in enumerate(zip(asks, found, strict=True)):
            if row["command_id"] is not None:
                answers[position] = settle(desk, ask, row, now)
            elif not row["key_lives"]:
                answers[position] = errors.CredentialsInvalid()
            elif row["account"] is None or not ask.caller.sees(row["account"]):
                answers[position] = errors.NotFound("no such order")
            else:
                line = _cancel_row(ask, row["account"], now)
                leaders.setdefault((ask.caller.client, ask.key), (position, line, row))
        if leaders:
            await desk.failpoints.hit("accept_before_commit")
            kept = await store.accept_cancels(
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
        asks: Sequence[CancelAsk],
        answers: list[Reply | Exception | None],
        leaders: dict[tuple[str, str], tuple[int, store.CancelRow, Any]],
        kept: dict[tuple[str, str], Any],
        now: datetime,
    ) -> None:
        desk = self._desk
        desk.metrics.batch_size.labels("cancel").observe(len(leaders))
        out: list[tuple[Command, str]] = []
        for pair, (position, line, order) in leaders.items():
            row = kept[pair]
            if row["command_id"] != line.command_id:
                continue
            assert row["seq"] is not None, "a key without its command"
            answers[position] = Reply(line.http_status, line.body, str(line.order_id), False)
            desk.metrics.accepts.labels("cancel").inc()
            desk.tally.count(line.client, What.FIRST_ACCEPT)
            if not row["never_sent"]:
                out.append((_cancel_command(line, order, row, now), line.traceparent))
        desk.relay.offer(out)
        for position, ask in enumerate(asks):
            if answers[position] is None:
                answers[position] = settle(desk, ask, kept[ask.caller.client, ask.key], now)


def _cancel_row(ask: CancelAsk, account: str, now: datetime) -> store.CancelRow:
    body = orjson.dumps(
        {
            "order_id": str(ask.order_id),
            "command": "cancel",
            "status": "accepted",
            "accepted_at": render_time(now),
        }
    )
    return store.CancelRow(
        client=ask.caller.client,
        key=ask.key,
        command_id=new_order_id(),
        fingerprint=ask.print_,
        canonical=ask.canonical,
        http_status=202,
        body=body,
        key_id=ask.caller.kid,
        account=account,
        order_id=ask.order_id,
        traceparent=ask.traceparent,
    )


def _cancel_command(line: store.CancelRow, order: Any, row: Any, now: datetime) -> CancelCommand:
    return CancelCommand(
        order_id=line.order_id,
        client=line.client,
        key=line.key,
        key_id=line.key_id,
        account=line.account,
        venue=order["venue"],
        symbol=order["symbol"],
        place_key=order["place_key"],
        accept_seq=row["accept_seq"],
        seq=row["seq"],
        accepted_at=now,
        timeline=row["timeline"],
    )
