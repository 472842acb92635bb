"""The composition root: everything is made and wired here, by hand, in reading order."""

import asyncio
import contextlib
import gc
from datetime import timedelta

from orderonce_shared.runtime.admin import Doorway, admin_routes
from orderonce_shared.runtime.bearer import Bearer, read_pepper
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import pool_when_ready
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.kafka_consumer import run_consumer
from orderonce_shared.runtime.kafka_publisher import Publisher
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.otel import open_tracing
from orderonce_shared.runtime.process import Process, listen, run_service, serve
from orderonce_shared.runtime.settings import read_settings
from orderonce_shared.runtime.traced_http import traced
from orderonce_shared.runtime.vitals import Vitals
from starlette.applications import Starlette

from orderonce_api.accept import Placing
from orderonce_api.admin import Admin, admin_app
from orderonce_api.auth import Gate
from orderonce_api.bots import Bots, bots_app
from orderonce_api.cancel import Canceling
from orderonce_api.consumer import follow_broker
from orderonce_api.core import Defaults
from orderonce_api.desk import Desk
from orderonce_api.follow import Follower
from orderonce_api.http import Edge
from orderonce_api.key_store import KeyStore
from orderonce_api.keys import Keeper
from orderonce_api.letter_store import LetterStore
from orderonce_api.letters import FORGET_EVERY_S as FORGET_LETTERS_EVERY_S
from orderonce_api.letters import MEASURE_EVERY_S as LETTERS_EVERY_S
from orderonce_api.letters import Letters
from orderonce_api.metrics import Metrics
from orderonce_api.relay import ASK_EVERY_S, MEASURE_EVERY_S, SWEEP_EVERY_S, Line, Relay
from orderonce_api.settings import OrderApiSettings
from orderonce_api.store import Store, StoreError, Writer
from orderonce_api.surroundings import Surroundings
from orderonce_api.tally import FORGET_EVERY_S, WRITE_EVERY_S, Tally
from orderonce_api.waiting import Waiters

GC_THRESHOLDS = (20_000, 20, 50)  # requests and rows in hand make no cycles
FLUSH_LIMIT_S = 2.0
CLOSE_LIMIT_S = 2.0


async def run(process: Process, settings: OrderApiSettings) -> None:
    clock, log, metrics = SystemClock(), process.log, Metrics()
    vitals = Vitals(metrics.registry, "order-api", process.health)
    process.start(vitals.watch_loop(process, clock), "vitals")
    try:
        pepper = read_pepper(settings.pepper)
    except ValueError as error:
        raise SystemExit(f"ORDER_API_PEPPER: {error}") from None

    admin_port = Doorway(Starlette(routes=admin_routes(process.health, metrics.registry)))
    admin_socket = listen(settings.host, settings.admin_port)
    process.start(serve(process, admin_port, admin_socket), "admin port")

    pool = await pool_when_ready(
        process,
        settings.database_url,
        setting=settings.database_setting,
        application="order-api",
        size=settings.pool_size,
    )
    if pool is None:
        return
    # Not before: an order would wait here unread, and be accepted long after its bot has given up.
    bot_socket = listen(settings.host, settings.port)
    vitals.watch_pool(pool)
    place_writer = Writer(settings.database_url, "order-api-place")
    cancel_writer = Writer(settings.database_url, "order-api-cancel")
    store = Store(pool)
    security = settings.kafka_security()
    publisher = Publisher(
        settings.kafka_bootstrap, "order-api", security, process.tracing, vitals.count_replaced
    )
    relay = Relay(publisher, store, metrics, clock, settings.topic_prefix)
    line = Line(store, metrics, timedelta(seconds=settings.line_limit_s), settings.topic_prefix)
    key_store = KeyStore(pool)
    tally = Tally(key_store, clock)
    waiters = Waiters(store, metrics, process)
    letters = Letters(LetterStore(pool), publisher, settings.topic_prefix, clock, metrics, log)
    failpoints = Failpoints.parse(settings.failpoints)
    defaults = Defaults(
        timedelta(seconds=settings.fast_deadline_s), timedelta(seconds=settings.slow_deadline_s)
    )

    def desk(writer: Writer) -> Desk:
        life = timedelta(seconds=settings.key_life_s)
        return Desk(
            writer, relay, line, clock, metrics, log, failpoints, life, defaults, tally,
            tracing=process.tracing,
        )  # fmt: skip

    bearer = Bearer(pool, pepper, clock)
    gate = Gate(bearer, log)
    placing, canceling = Placing(desk(place_writer)), Canceling(desk(cancel_writer))
    surroundings = Surroundings(gate, tally, store, key_store, clock)
    bots = bots_app(Bots(gate, placing, canceling, waiters, surroundings, store, clock))
    keeper = Keeper(store, pepper, bearer, log)
    admin = admin_app(Admin(gate, keeper, letters, process.health, metrics.registry))
    broker = follow_broker(
        Follower(store, metrics, log),
        letters,
        waiters,
        process,
        bootstrap=settings.kafka_bootstrap,
        topic_prefix=settings.topic_prefix,
        security=security,
        clock=clock,
        watch_lag=vitals.watch_lag,
    )

    gc.collect()
    gc.freeze()  # what is loaded by now stays: looking through it again and again is waste
    gc.set_threshold(*GC_THRESHOLDS)
    process.start(relay.run(process), "relay")
    process.start(process.repeat("sweeper", relay.sweep, every_s=SWEEP_EVERY_S), "sweeper")
    process.start(process.repeat("asker", relay.ask_again, every_s=ASK_EVERY_S), "asker")
    process.start(process.repeat("tally", tally.write, every_s=WRITE_EVERY_S), "tally")
    process.start(process.repeat("old counts", tally.forget, every_s=FORGET_EVERY_S), "old counts")
    process.start(process.repeat("letters", letters.measure, every_s=LETTERS_EVERY_S), "letters")
    old_letters = process.repeat("old letters", letters.forget, every_s=FORGET_LETTERS_EVERY_S)
    process.start(old_letters, "old letters")
    process.start(waiters.run(), "waiters")
    process.start(process.repeat("line", line.measure, every_s=MEASURE_EVERY_S), "line")
    process.start(run_consumer(broker, process, settings), "follow")
    admin_port.app = Edge(admin, log, metrics, "admin")
    bot_edge = traced(Edge(bots, log, metrics), process.tracing)
    bot_port = process.start(serve(process, bot_edge, bot_socket), "bot port")

    # Requests in flight are answered first; what they committed is published; then the loops end.
    # A process that is killed in between leaves the rest to the next sweeper.
    await bot_port
    last = [asyncio.ensure_future(relay.flush()), asyncio.ensure_future(_write_last(tally))]
    await asyncio.wait(last, timeout=FLUSH_LIMIT_S)
    await process.finish()
    await publisher.close()
    await place_writer.close()
    await cancel_writer.close()
    await asyncio.wait([asyncio.ensure_future(pool.close())], timeout=CLOSE_LIMIT_S)


async def _write_last(tally: Tally) -> None:
    """The counts of the last second; without a database they are lost, as after a kill."""
    with contextlib.suppress(StoreError):
        await tally.write()


def main() -> None:
    settings = read_settings(OrderApiSettings)
    log = configure_logs("order-api", settings.log_level)
    settings.warn_of_open_ways(log)
    run_service(lambda process: run(process, settings), log, open_tracing("order-api"))
