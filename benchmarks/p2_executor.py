"""P2: what exactly-once costs. Orders per CPU second of one executor (claim, CAS, send, record,
events) beside bare ccxt `create_order` against the same paper exchange, in turns.

All have the same number of orders in flight and one core for themselves, in turns; Postgres, Kafka,
the paper exchange and this process share another. ccxt runs as its documentation has it, on
asyncio's loop, and once more on the loop of our services. Ratio 1.0: the guarantee costs the sender
nothing. Both sides do the same work: none follows the venue's user-data stream, or, with
`--following`, both do.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaProducer
from orderonce_shared.contracts.commands import PlaceCommand, command_headers
from orderonce_shared.contracts.topics import COMMANDS, prefixed
from orderonce_shared.domain.order import OrderType, Side
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.tracing import new_traceparent

from benchmarks import cpu, stage
from benchmarks.peer import Peer, bare_ccxt
from benchmarks.report import Result, median_cpu, ratio
from benchmarks.stage import OPEN_EXECUTOR, OPEN_PAPER, Stage, say
from tests.line import Line, Shape

ACCOUNT, PEER_ACCOUNT = "paper-1", "paper-2"
OURS, BARE, FAST = "executor", "bare ccxt", "bare ccxt on uvloop"
GOAL = 1.0
ROUND_LIMIT_S = 120.0
LOOK_S = 0.05
DONE = """SELECT (SELECT count(*) FROM executor.placement WHERE settled AND state = 'filled')
               - 1000000000 * (SELECT count(*) FROM executor.outbox)"""


async def run(
    on: Stage, *, orders: int, rounds: int, in_flight: int, following: bool = False
) -> Result:
    """`orders` per side and round. The first round warms all up and is not counted."""
    env = {
        **OPEN_EXECUTOR,
        "EXECUTOR_CREATES_IN_FLIGHT": str(in_flight),
        "EXECUTOR_STREAM": str(following).lower(),
    }
    shape = Shape(ledgers=0, accounts=(ACCOUNT,), executor_env=env, paper_flags=OPEN_PAPER)
    sides: dict[str, list[Round]] = {OURS: [], BARE: [], FAST: []}
    async with (
        on.line(shape) as line,
        bare_ccxt(line, PEER_ACCOUNT, loop="asyncio", following=following) as plain,
        bare_ccxt(line, PEER_ACCOUNT, loop="uvloop", following=following) as fast,
    ):
        await line.apis[0].stop()  # it has admitted the account; here it would only make noise
        database = await asyncpg.connect(line.database.owner_url)
        try:
            with cpu.pinned("executor", "bare ccxt"):
                for number in range(rounds + 1):
                    sides[OURS].append(await _executor_round(line, database, orders, number + 1))
                    sides[BARE].append(await _bare_round(plain, orders, in_flight))
                    sides[FAST].append(await _bare_round(fast, orders, in_flight))
                    say(f"round {number}: " + ", ".join(_last(sides, orders)))
        finally:
            await database.close()
    counted = {side: told[1:] for side, told in sides.items()}
    return _result(counted, orders, in_flight, following)


Round = tuple[float, dict[str, float]]  # wall seconds, CPU seconds by part


async def _executor_round(
    line: Line, database: "asyncpg.Connection", orders: int, number: int
) -> Round:
    """From the first command in Kafka to the last order filled and its event in Kafka."""
    prefix = line.common["TOPIC_PREFIX"]
    records = [_command(n) for n in range(orders)]
    producer = AIOKafkaProducer(bootstrap_servers=line.common["KAFKA_BOOTSTRAP"], acks="all")
    await producer.start()
    try:
        meter, began = cpu.Meter(), time.monotonic()
        topic, key = prefixed(prefix, COMMANDS), ACCOUNT.encode()
        sent = [await producer.send(topic, v, key=key, headers=h) for v, h in records]
        await asyncio.gather(*sent)
        deadline = began + ROUND_LIMIT_S
        while await database.fetchval(DONE) != orders * number:
            assert time.monotonic() < deadline, f"not {orders} filled in {ROUND_LIMIT_S} s"
            await asyncio.sleep(LOOK_S)
        return time.monotonic() - began, meter.read()
    finally:
        await producer.stop()


def _command(number: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    now = datetime.now(UTC)
    command = PlaceCommand(
        order_id=new_order_id(),
        client="bench",
        key=f"key-{uuid4().hex}",
        account=ACCOUNT,
        venue="paper",
        symbol="BTC/USDT",
        side=Side.SELL if number % 2 else Side.BUY,
        type=OrderType.MARKET,
        quantity=Decimal("0.00100"),
        accepted_at=now,
        expires_at=now + timedelta(minutes=10),
    )
    return command.encode(), command_headers(command, new_traceparent())


async def _bare_round(peer: Peer, orders: int, in_flight: int) -> Round:
    meter = cpu.Meter()
    told = await peer.ask({"count": orders, "in_flight": in_flight})
    return told["wall_s"], {**meter.read(), "bare ccxt": told["cpu_s"]}


def _own(side: str, told: Round) -> float:
    """CPU seconds of the side's own process."""
    return told[1]["executor" if side == OURS else "bare ccxt"]


def _last(sides: dict[str, list[Round]], orders: int) -> Iterator[str]:
    for side, rounds in sides.items():
        yield f"{side} {_own(side, rounds[-1]) * 1e6 / orders:.0f} us"


def _result(sides: dict[str, list[Round]], orders: int, in_flight: int, following: bool) -> Result:
    rounds = len(sides[OURS])
    what = f"{rounds} rounds of {orders} market orders per side, {in_flight} in flight"
    what += ", all following the stream" if following else ""
    result = Result("P2", what, "order")
    spent = {side: [_own(side, one) for one in told] for side, told in sides.items()}
    walls = {side: [wall for wall, _ in told] for side, told in sides.items()}
    for side, told in sides.items():
        result.figures[f"{side}, orders per CPU second"] = orders / statistics.median(spent[side])
        result.figures[f"{side}, orders/s"] = orders / statistics.median(walls[side])
        result.cpu_us[side] = median_cpu([parts for _, parts in told], orders)
    result.ratios = [
        ratio(f"CPU of {BARE} / CPU of the executor", spent[BARE], spent[OURS], GOAL),
        ratio(f"CPU of {FAST} / CPU of the executor", spent[FAST], spent[OURS]),
        ratio(f"rate of the executor / rate of {BARE}", walls[BARE], walls[OURS]),
    ]
    return result


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=4000, help="per side and round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--in-flight", type=int, default=50)
    options.add_argument("--following", action="store_true", help="all follow the venue's stream")
    stage.main("benchmarks.p2_executor", options, run)
