"""The protocol's own guards, removed one at a time: for each, a named test must turn red.

A guard is a piece of text in one file and what stands there when the guard is gone. It is removed
in a copy of the checkout, so that nothing here can spoil the tree. A guard whose text is no longer
found is an error too: then this table is stale. Run by `make mutants`, or with words that choose
rows: `python -m tests.chaos.mutants cancel`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("shared", "services", "client", "cli", "tests", "examples", "pyproject.toml")
PACKAGES = (
    "shared", "services/order-api", "services/executor", "services/ledger",
    "services/paper-exchange", "client", "cli",
)  # fmt: skip
LIMIT_S = 400.0
API = "services/order-api/orderonce_api"
EXECUTOR = "services/executor/orderonce_executor"
RUNTIME = "shared/orderonce_shared/runtime"
VENUES = "shared/orderonce_shared/venues"


@dataclass(frozen=True)
class Mutant:
    """A guard, what is left without it, and the tests of which one must fail."""

    name: str
    file: str
    guard: str
    without: str
    tests: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "accept: winners matched by key and command, not by key alone",
        f"{API}/queries.sql",
        "JOIN kept USING (client, key, command_id)\n              JOIN locked",
        "JOIN kept USING (client, key)\n              JOIN locked",
        ("tests/e2e/test_same_key.py::test_64_posts_of_one_key_over_two_apis",),
    ),
    Mutant(
        "publish: a sweeper for what another process committed",
        f"{API}/relay.py",
        "rows = await self._store.take_due(BATCH, LONGEST_PAUSE_S)",
        "rows = (await self._store.take_due(BATCH, LONGEST_PAUSE_S))[:0]",
        ("tests/e2e/test_api_dies.py::test_F01_accepting_api_killed_after_its_commit",),
    ),
    Mutant(
        "publish: a quiet order is asked about again",
        f"{API}/relay.py",
        "await self._store.ask_again(QUIET_S, LONGEST_ASK_PAUSE_S, BATCH)",
        "pass",
        ("tests/e2e/test_kafka_loses.py::test_F21_events_are_lost_before_an_api_read_them",),
    ),
    Mutant(
        "publish: an outbox row is open until the claim",
        f"{API}/queries.sql",
        "FROM api.outbox WHERE next_at <= clock_timestamp()",
        "FROM api.outbox WHERE next_at <= clock_timestamp() AND attempts < 1",
        ("tests/e2e/test_kafka_loses.py::test_F21_commands_are_lost_before_anyone_read_them",),
    ),
    Mutant(
        "key: one that is past its life never executes again",
        f"{API}/core.py",
        "        return Expired()\n",
        "        pass\n",
        ("tests/e2e/test_same_key.py::test_F10_a_key_used_after_its_life_never_executes_again",),
    ),
    Mutant(
        "send: not begun after half of the window",
        f"{EXECUTOR}/place.py",
        "if late > HALF_WINDOW * placement.window_ms / 1000:",
        "if False:",
        ("tests/e2e/test_zombie.py::test_F05_a_zombie_that_wakes_up_sends_nothing_late",),
    ),
    Mutant(
        "stop: calls in flight are heard to their end",
        f"{EXECUTOR}/place.py",
        "while left := [*self.in_flight.values(), *self.endings]:",
        "while left := list[asyncio.Task[None]]():",
        ("tests/e2e/test_sigterm.py",),
    ),
    Mutant(
        "claim: a repeated payload must be the same",
        f"{EXECUTOR}/claim.py",
        "elif row.payload_hash == one.payload_hash:",
        "elif True:",
        ("tests/e2e/test_records.py",),
    ),
    Mutant(
        "CAS: the deadline",
        f"{EXECUTOR}/queries.sql",
        "WHEN expires_at_ms < greatest(signed_at_ms, now_ms) + smallest_ms THEN 'lapsed'",
        "WHEN false THEN 'lapsed'",
        ("tests/integration/test_executor_store.py",),
    ),
    Mutant(
        "CAS: the halt",
        f"{EXECUTOR}/queries.sql",
        "WHEN halted IS NOT FALSE THEN 'waiting'",
        "WHEN false THEN 'waiting'",
        ("tests/e2e/test_halt.py::test_F22_halt_while_orders_leave",),
    ),
    Mutant(
        "CAS: the key that asked still lives",
        f"{EXECUTOR}/queries.sql",
        "WHEN key_id IS NOT NULL AND key_status IS DISTINCT FROM 'active' THEN 'revoked'",
        "WHEN false THEN 'revoked'",
        ("tests/e2e/test_halt.py::test_orders_of_a_revoked_key_end_denied",),
    ),
    Mutant(
        "send: SENDING is looked up, never sent again",
        f"{EXECUTOR}/core.py",
        "                result = _unknown(placement, detail, now)\n",
        "                result = _send_again(placement, detail, 0.0, False, now)\n",
        ("tests/e2e/test_executor_dies.py::test_F07_executor_dies_between_venue_and_database",),
    ),
    Mutant(
        "resolve: absence only after the window and the late-visibility bound",
        f"{EXECUTOR}/resolve.py",
        "        if venue_ms <= ends_ms:\n",
        "        if False:\n",
        ("tests/e2e/test_venue_faults.py::test_F08_refused_with_a_5xx",),
    ),
    Mutant(
        'resolve: "cannot ask" is never "not found"',
        f"{EXECUTOR}/resolve.py",
        "        case CannotAsk():\n            return Steps(closed)\n",
        "        case CannotAsk():\n            return Steps(closed, proven={})\n",
        ("tests/e2e/test_venue_faults.py::test_F08_lookups_that_fail_are_not_absence",),
    ),
    Mutant(
        "evidence: a 5xx proves nothing",
        f"{VENUES}/errors.py",
        "    if not 400 <= status <= 499:\n",
        "    if not 400 <= status <= 599:\n",
        ("tests/unit/venues", "tests/e2e/test_venue_faults.py"),
    ),
    Mutant(
        "evidence: a duplicate client id is looked up",
        f"{VENUES}/errors.py",
        "            return DuplicateId(detail, raw)\n",
        "            return Refused(code=code, detail=detail, raw=raw)\n",
        ("tests/e2e/test_venue_faults.py::test_F15_duplicate_client_id_that_is_ours",),
    ),
    Mutant(
        "sign: the stamp of the CAS, not of now",
        f"{VENUES}/fence.py",
        "return stamp.signed_at_ms if stamp is not None else self.venue_now_ms()",
        "return self.venue_now_ms()",
        ("tests/unit/venues", "tests/e2e/test_venue_clock.py"),
    ),
    Mutant(
        "owners: rows of a dead process are taken up",
        f"{EXECUTOR}/owners.py",
        "while rows := await self.store.adopt(dead, ADOPT_ROWS):",
        "while rows := list[object]():",
        ("tests/e2e/test_executor_dies.py::test_F06_executor_dies_between_offsets_and_send",),
    ),
    Mutant(
        "cancel: the mark drives a cancel on find",
        f"{EXECUTOR}/core.py",
        "    return (CancelAtVenue(),) if p.cancel_requested else ()\n",
        "    return ()\n",
        ("tests/e2e/test_cancel.py", "tests/unit/executor"),
    ),
    Mutant(
        "stream: an ended order absorbs the slow answer",
        f"{EXECUTOR}/core.py",
        "    if p.state in (State.REJECTED, State.FILLED):\n        return _absorbed(p, order)\n",
        "    if p.state is State.REJECTED:\n        return _absorbed(p, order)\n",
        ("tests/e2e/test_stream.py::test_F24_slow_ack_after_the_streams_filled",),
    ),
    Mutant(
        "stream: the cumulative fill never falls",
        f"{EXECUTOR}/tale.py",
        "more = order.filled_quantity > word.filled_quantity",
        "more = order.filled_quantity != word.filled_quantity",
        ("tests/unit/executor/test_tale.py",),
    ),
    Mutant(
        "stream: a trade id counts once",
        f"{EXECUTOR}/tale.py",
        "if fill.trade_id not in self.fills:",
        "if True:",
        ("tests/unit/executor/test_tale.py",),
    ),
    Mutant(
        "stream: REST looks at what nobody listened to",
        f"{EXECUTOR}/stream.py",
        "        self.streams.gaps.add(self.lane.account)\n",
        "",
        ("tests/unit/executor/test_streams.py",),
    ),
    Mutant(
        "stream: a rejection does not say of which attempt",
        f"{EXECUTOR}/stream.py",
        "            if order.status is VenueStatus.REJECTED:\n",
        "            if False:\n",
        ("tests/unit/executor/test_streams.py",),
    ),
    Mutant(
        "stream: of a cancel the order's id counts, not the cancel's",
        f"{VENUES}/spot.py",
        'for name in ("C", "c"):',
        'for name in ("c", "C"):',
        ("tests/unit/venues/test_reports.py",),
    ),
    Mutant(
        "stream: a missed comparison is decided again on the row as it is",
        f"{EXECUTOR}/stream.py",
        "            if heard is not None:\n                self.metrics.stream_words",
        "            if True:\n                self.metrics.stream_words",
        ("tests/unit/executor/test_streams.py",),
    ),
    Mutant(
        "dead letters: the original headers go back",
        f"{API}/letters.py",
        'taken["topic"], taken["record_key"], taken["value"], headers_of(taken["headers"])',
        'taken["topic"], taken["record_key"], taken["value"], []',
        ("tests/integration/test_order_api_letters.py",),
    ),
    Mutant(
        "dead letters: ours are the last six headers, whatever a stranger called his",
        "shared/orderonce_shared/contracts/letters.py",
        "    return [*origin.headers, *zip(DLQ_HEADERS, ours, strict=True)]",
        "    return [*zip(DLQ_HEADERS, ours, strict=True), *origin.headers]",
        ("tests/property/test_shared_letters.py",),
    ),
    Mutant(
        "dead letters: a replay is won by one call",
        f"{API}/queries.sql",
        "   AND (state IN ('waiting', 'discarded')\n",
        "   AND (state IN ('waiting', 'discarded', 'replaying', 'replayed')\n",
        ("tests/integration/test_order_api_letters.py",),
    ),
    Mutant(
        "wait: what another process applied is seen too",
        f"{API}/waiting.py",
        "            pause_s = LOOK_EVERY_S if self._by_id else LOOK_AGAIN_S\n",
        "            pause_s = 60.0\n",
        ("tests/integration/test_order_api_wait.py",),
    ),
    Mutant(
        "wait: a retry is answered with the acceptance",
        f"{API}/bots.py",
        "    if not seconds or reply.replayed or reply.status != 202:\n",
        "    if not seconds or reply.status != 202:\n",
        ("tests/integration/test_order_api_wait.py",),
    ),
    Mutant(
        "breaker: nothing new leaves while it is open",
        f"{EXECUTOR}/lanes.py",
        "lane.breaker.ready(now, lane.budget.creates_ready(now))",
        "lane.budget.creates_ready(now)",
        ("tests/unit/executor/test_breaker.py", "tests/e2e/test_breaker.py"),
    ),
    Mutant(
        "breaker: a probe that did not leave gives its place back",
        f"{EXECUTOR}/lanes.py",
        "            lane.breaker.give_back(placement.order_id)\n",
        "",
        ("tests/unit/executor/test_breaker.py",),
    ),
    Mutant(
        "breaker: what waits behind it ends at its deadline",
        f"{EXECUTOR}/lanes.py",
        "if lane.breaker.is_open or now",
        "if now",
        ("tests/unit/executor/test_upkeep.py",),
    ),
    Mutant(
        "breaker: creates without an answer are counted",
        f"{EXECUTOR}/place.py",
        "say_turn(self.process, placement.account, turn)",
        "lane.breaker.failures = 0",
        (
            "tests/e2e/test_breaker.py::test_F23_after_five_silences_orders_wait_lapse_or_leave_later",
        ),
    ),
    Mutant(
        "breaker: unknown orders are counted",
        f"{EXECUTOR}/queries.sql",
        "WHERE owner = $1 AND NOT settled AND state = 'unknown' GROUP BY account",
        "WHERE owner = $1 AND NOT settled AND state = 'claimed' GROUP BY account",
        (
            "tests/e2e/test_breaker.py::"
            "test_many_unknown_orders_pause_an_account_although_others_are_answered",
        ),
    ),
    Mutant(
        "breaker: a venue that takes no connection is not heard",
        f"{VENUES}/errors.py",
        "unreachable=passage.dialled",
        "unreachable=False",
        ("tests/e2e/test_breaker.py::test_orders_wait_for_a_venue_that_takes_no_connection",),
    ),
)


def mutate(mutant: Mutant, folder: Path) -> None:
    """Remove the guard in this copy; ValueError when its text is not there exactly once."""
    path = folder / mutant.file
    text = path.read_text()
    found = text.count(mutant.guard)
    if found != 1:
        raise ValueError(f"{mutant.name}: the guard is {found} times in {mutant.file}, not once")
    path.write_text(text.replace(mutant.guard, mutant.without))


def is_seen(mutant: Mutant) -> tuple[bool, str]:
    """Whether a test fails without the guard, and the last lines of the run."""
    with tempfile.TemporaryDirectory(prefix="orderonce-mutant-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy(source, folder / part)
        mutate(mutant, folder)
        env = os.environ | {"PYTHONPATH": ":".join(str(folder / path) for path in PACKAGES)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--stack=embedded", *mutant.tests],
            cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
        # 1 is "tests failed"; 2 to 5 mean that nothing was tried
        if done.returncode not in (0, 1):
            raise ValueError(f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout}")
        return done.returncode == 1, "\n".join(done.stdout.splitlines()[-4:])


def main(words: list[str]) -> int:
    """One line per guard; exit code 1 when one can be removed and nobody sees it."""
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    unseen = 0
    for mutant in chosen:
        seen, tail = is_seen(mutant)
        unseen += not seen
        print(f"{'seen  ' if seen else 'UNSEEN'} {mutant.name}", flush=True)  # noqa: T201
        if not seen:
            print(tail, flush=True)  # noqa: T201
    return 1 if unseen or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
