"""The composition root: everything is made and wired here, by hand, in reading order."""

import asyncio
from datetime import timedelta

from orderonce_shared.runtime.bearer import Bearer, read_pepper
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import open_pool
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.kafka import Publisher, run_consumer
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process, listen, run_service, serve
from orderonce_shared.runtime.settings import read_settings

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
from orderonce_api.keys import Keeper
from orderonce_api.metrics import Metrics
from orderonce_api.relay import MEASURE_EVERY_S, SWEEP_EVERY_S, Line, Relay
from orderonce_api.settings import OrderApiSettings
from orderonce_api.store import Store, Writer

FLUSH_LIMIT_S = 2.0
CLOSE_LIMIT_S = 2.0


async def run(process: Process, settings: OrderApiSettings) -> None:
    bot_socket = listen(settings.host, settings.port)
    admin_socket = listen(settings.host, settings.admin_port)
    clock, log, metrics = SystemClock(), process.log, Metrics()
    try:
        pepper = read_pepper(settings.pepper)
    except ValueError as error:
        raise SystemExit(f"ORDER_API_PEPPER: {error}") from None

    pool = await open_pool(settings.database_url, application="order-api", size=settings.pool_size)
    place_writer = Writer(settings.database_url, "order-api-place")
    cancel_writer = Writer(settings.database_url, "order-api-cancel")
    store = Store(pool)
    publisher = Publisher(settings.kafka_bootstrap, "order-api")
    relay = Relay(publisher, store, metrics, clock, settings.topic_prefix)
    line = Line(store, metrics, timedelta(seconds=settings.line_limit_s))
    failpoints = Failpoints.parse(settings.failpoints)
    defaults = Defaults(
        timedelta(seconds=settings.fast_deadline_s), timedelta(seconds=settings.slow_deadline_s)
    )

    def desk(writer: Writer) -> Desk:
        life = timedelta(seconds=settings.key_life_s)
        return Desk(writer, relay, line, clock, metrics, log, failpoints, life, defaults)

    bearer = Bearer(pool, pepper, clock)
    gate = Gate(bearer, log)
    bots = bots_app(
        Bots(gate, Placing(desk(place_writer)), Canceling(desk(cancel_writer)), store, clock)
    )
    keeper = Keeper(store, pepper, bearer, log)
    admin = admin_app(Admin(gate, keeper, process.health, metrics.registry))
    broker = follow_broker(
        Follower(store, metrics, log),
        process,
        bootstrap=settings.kafka_bootstrap,
        topic_prefix=settings.topic_prefix,
    )

    process.start(relay.run(process), "relay")
    process.start(process.repeat("sweeper", relay.sweep, every_s=SWEEP_EVERY_S), "sweeper")
    process.start(process.repeat("line", line.measure, every_s=MEASURE_EVERY_S), "line")
    process.start(run_consumer(broker, process), "follow")
    process.start(serve(process, Edge(admin, log, metrics), admin_socket), "admin port")
    bot_port = process.start(serve(process, Edge(bots, log, metrics), bot_socket), "bot port")

    # Requests in flight are answered first; what they committed is published; then the loops end.
    # A process that is killed in between leaves the rest to the next sweeper.
    await bot_port
    await asyncio.wait([asyncio.ensure_future(relay.flush())], timeout=FLUSH_LIMIT_S)
    await process.finish()
    await publisher.close()
    await place_writer.close()
    await cancel_writer.close()
    await asyncio.wait([asyncio.ensure_future(pool.close())], timeout=CLOSE_LIMIT_S)


def main() -> None:
    settings = read_settings(OrderApiSettings)
    log = configure_logs("order-api", settings.log_level)
    run_service(lambda process: run(process, settings), log)
