"""The peer of P2 and P3: what a bot does without us. Plain ccxt, `create_order`, nothing kept,
nothing proven.

Runs as a process of its own, on asyncio's loop or, told so, on uvloop; told `following`, it watches
its orders by ccxt.pro's stream meanwhile. Each line on standard input
`{"count": N, "in_flight": M}` (as fast as it goes) or `{"count": N, "rate": R}` (open loop) is
answered by a line with its figures.
"""

import asyncio
import json
import sys
import time
from typing import Any

import ccxt.async_support as ccxt_async
import ccxt.pro as ccxt_pro
import uvloop

SYMBOL, QUANTITY = "BTC/USDT", 0.001


async def main(*, following: bool) -> None:
    address, key, secret = json.loads(sys.stdin.readline())
    exchange = (ccxt_pro if following else ccxt_async).binance(
        {
            "apiKey": key,
            "secret": secret,
            "enableRateLimit": False,  # its own limiter would cap it at 10 orders/s
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False,
                "fetchMargins": False,
            },
        }
    )
    exchange.urls["api"]["public"] = exchange.urls["api"]["private"] = f"{address}/api/v3"
    try:
        await exchange.load_markets()
        if following:
            exchange.urls["api"]["ws"]["ws-api"]["spot"] = (
                address.replace("http", "ws", 1) + "/ws-api/v3"
            )
            watching = asyncio.create_task(_watch(exchange))
            watching.add_done_callback(lambda task: task.cancelled() or sys.exit(repr(task)))
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            run = _paced if "rate" in asked else _closed
            print(json.dumps(await run(exchange, asked)), flush=True)
    finally:
        await exchange.close()


async def _watch(exchange: Any) -> None:
    while True:
        await exchange.watch_orders(SYMBOL)


async def _closed(exchange: Any, asked: dict[str, Any]) -> dict[str, Any]:
    left = iter(range(asked["count"]))

    async def worker() -> None:
        for number in left:
            await _one(exchange, number)

    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(asked["in_flight"])))
    return {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


async def _paced(exchange: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """`intended` maps the client order id to the time (seconds since 1970) at which it was due."""
    cpu, tasks, intended = time.process_time(), [], {}
    begin = time.time() + 0.05
    for number in range(asked["count"]):
        due = begin + number / asked["rate"]
        await asyncio.sleep(max(0.0, due - time.time()))
        name = f"{asked['name']}{number}"
        intended[name] = due
        tasks.append(asyncio.create_task(_one(exchange, number, {"newClientOrderId": name})))
    await asyncio.gather(*tasks)
    return {"intended": intended, "cpu_s": time.process_time() - cpu}


async def _one(exchange: Any, number: int, params: dict[str, Any] | None = None) -> None:
    side = "sell" if number % 2 else "buy"
    order = await exchange.create_order(SYMBOL, "market", side, QUANTITY, None, params or {})
    assert order["status"] == "closed", order


if __name__ == "__main__":
    made = main(following="following" in sys.argv)
    uvloop.run(made) if "uvloop" in sys.argv else asyncio.run(made)
