"""Composition root of the ledger: settings, database, read-only venue doors, Kafka, loops, two
ports; in reading order.

The only place where failpoints are wired: `book_before_commit` (everything of a batch is written,
nothing is committed) and `book_after_commit` (committed, the offsets are not).
"""

from collections.abc import Mapping
from datetime import timedelta

from orderonce_shared.contracts.topics import FILLS, prefixed
from orderonce_shared.runtime.admin import admin_routes
from orderonce_shared.runtime.bearer import Bearer, read_pepper
from orderonce_shared.runtime.clock import Clock, SystemClock
from orderonce_shared.runtime.database import pool_when_ready
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.kafka_consumer import consumer_broker, run_consumer, subscribe_batches
from orderonce_shared.runtime.kafka_publisher import Publisher
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.otel import open_tracing
from orderonce_shared.runtime.process import Process, listen, run_service, serve
from orderonce_shared.runtime.settings import read_settings
from orderonce_shared.runtime.vitals import Vitals
from orderonce_shared.venues.adapter import Door
from orderonce_shared.venues.credentials import CredentialError, load_credentials
from starlette.applications import Starlette

from orderonce_ledger.book import Steps
from orderonce_ledger.consumer import FillConsumer, count_rulings, read_record
from orderonce_ledger.http import make_app
from orderonce_ledger.metrics import Metrics
from orderonce_ledger.opening import Openings
from orderonce_ledger.ports import Venue
from orderonce_ledger.reads import Reads
from orderonce_ledger.reconcile import Reconciler, Rules
from orderonce_ledger.schedule import Schedule
from orderonce_ledger.settings import LedgerSettings
from orderonce_ledger.store import Store

OPENINGS_EVERY_S = 1.0  # an account is admitted, or a fill parked, at most this long before we look
SIGNS_EVERY_S = 5.0


async def open_doors(settings: LedgerSettings, clock: Clock) -> dict[str, Door]:
    """One door per account of the credentials file, opened for reading. Raises SystemExit with a
    plain sentence."""
    doors: dict[str, Door] = {}
    try:
        for account, credential in load_credentials(settings.credentials).items():
            doors[account] = await Door.open(
                credential.venue,
                account,
                credential,
                base_url=settings.venue_urls.get(credential.venue),
                monotonic=clock.monotonic,
                timeout_ms=settings.venue_timeout_ms,
                read_only=True,
            )
    except (CredentialError, LookupError, ValueError) as error:
        raise SystemExit(f"LEDGER_CREDENTIALS: {error}") from None
    return doors


async def run(process: Process, settings: LedgerSettings) -> None:
    clock = SystemClock()
    failpoints = Failpoints.parse(settings.failpoints)
    steps = Steps(
        before_commit=lambda: failpoints.hit("book_before_commit"),
        after_commit=lambda: failpoints.hit("book_after_commit"),
    )
    metrics = Metrics()
    vitals = Vitals(metrics.registry, "ledger", process.health)
    process.start(vitals.watch_loop(process, clock), "vitals")
    admin_socket = listen(settings.host, settings.admin_port)
    admin = Starlette(routes=admin_routes(process.health, metrics.registry))
    process.start(serve(process, admin, admin_socket), "admin port")

    pool = await pool_when_ready(
        process,
        settings.database_url,
        setting=settings.database_setting,
        application="orderonce-ledger",
        size=settings.pool_size,
    )
    if pool is None:
        return
    api_socket = listen(settings.host, settings.port)
    vitals.watch_pool(pool)
    store = Store(pool)
    doors = await open_doors(settings, clock)
    venues: Mapping[str, Venue] = doors
    count = count_rulings(metrics, process.log)
    openings = Openings(store, venues, settings.quiet_tries, process.log, read_record, count)
    rules = Rules(timedelta(milliseconds=settings.grace_ms), settings.quiet_tries)
    reconciler = Reconciler(store, venues, rules, clock)
    schedule = Schedule(store, reconciler, metrics, clock, process.log, settings.full_every_s)

    security = settings.kafka_security()
    publisher = Publisher(
        settings.kafka_bootstrap,
        "orderonce-ledger",
        security,
        process.tracing,
        vitals.count_replaced,
    )
    consumer = FillConsumer(
        store, publisher, metrics, clock, process.log, steps, settings.topic_prefix
    )
    broker = consumer_broker(settings.kafka_bootstrap, "orderonce-ledger", security)
    subscribe_batches(
        broker,
        prefixed(settings.topic_prefix, FILLS),
        group=prefixed(settings.topic_prefix, "ledger"),
        process=process,
        handle=consumer.handle,
        watch_lag=vitals.watch_lag,
    )
    bearer = Bearer(pool, read_pepper(settings.pepper), clock)
    app = make_app(bearer, Reads(pool), schedule, openings.closed, clock)

    process.start(run_consumer(broker, process, settings), "consumer")
    process.start(
        process.repeat("openings", openings.step, every_s=OPENINGS_EVERY_S), "openings loop"
    )
    process.start(
        process.repeat("reconcile", schedule.step, every_s=settings.reconcile_every_s),
        "reconcile loop",
    )
    process.start(process.repeat("signs", schedule.signs, every_s=SIGNS_EVERY_S), "signs loop")
    process.start(serve(process, app, api_socket), "http port")
    await process.stopping.wait()
    await process.finish()
    await publisher.close()
    for door in doors.values():
        await door.close()
    await pool.close()


def main() -> None:
    settings = read_settings(LedgerSettings)
    log = configure_logs("ledger", settings.log_level)
    settings.warn_of_open_ways(log)
    run_service(lambda process: run(process, settings), log, open_tracing("ledger"))
