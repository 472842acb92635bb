"""The executor's composition root: everything is made and wired here, in reading order."""

import asyncio
import gc
from dataclasses import dataclass

from orderonce_shared.contracts.topics import COMMANDS, prefixed
from orderonce_shared.runtime.admin import admin_routes
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import Pool, pool_when_ready
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.kafka_consumer import consumer_broker, run_consumer, subscribe_batches
from orderonce_shared.runtime.kafka_publisher import Publisher
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.otel import open_tracing
from orderonce_shared.runtime.process import Process, listen, run_service, serve
from orderonce_shared.runtime.settings import read_settings
from orderonce_shared.runtime.vitals import Vitals
from orderonce_shared.venues.adapter import Door
from orderonce_shared.venues.credentials import Credential, CredentialError, load_credentials
from orderonce_shared.venues.evidence import EVIDENCE
from orderonce_shared.venues.stream import OrderStream, open_stream, stream_url
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from orderonce_executor.breaker import BreakerLimits
from orderonce_executor.budget import BudgetLimits
from orderonce_executor.cancel import Canceller
from orderonce_executor.claim import Claim
from orderonce_executor.claim_store import ClaimStore
from orderonce_executor.consumer import Consumer
from orderonce_executor.lane_numbers import LaneNumbers
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.look import Looker
from orderonce_executor.markets import (
    ACCOUNTS_EVERY_S,
    CLOCK_EVERY_S,
    PRICES_EVERY_S,
    Markets,
    OpenDoor,
)
from orderonce_executor.metrics import Metrics
from orderonce_executor.owners import Adopter, Owner
from orderonce_executor.place import Sender
from orderonce_executor.ports import SendLimits, Venue
from orderonce_executor.record import Recorder, Signals
from orderonce_executor.relay import SWEEP_EVERY_S, Relay
from orderonce_executor.resolve import Resolver
from orderonce_executor.settings import ExecutorSettings
from orderonce_executor.store import remember_timeline
from orderonce_executor.stream import OpenStream, Streams
from orderonce_executor.track import Tracker
from orderonce_executor.upkeep import Upkeep

GROUP = "orderonce-executor"
POLL_S = 0.5  # loops that are woken by events look by themselves this often
SWEEP_S = 0.25
COUNT_S = 2.0
LOST_SLACK_S = 10.0  # beyond the venue's time-out: a row that no task holds by then was never sent
REFUSED_LOG_S = 30.0
RECORD_LIMIT_S = 4.0
RELAY_LIMIT_S = 2.0
GC_THRESHOLDS = (20_000, 20, 50)  # rows in hand make no cycles


@dataclass(slots=True)
class Parts:
    """What run() starts and stops."""

    owner: Owner
    markets: Markets
    relay: Relay
    recorder: Recorder
    sender: Sender
    resolver: Resolver
    tracker: Tracker
    streams: Streams
    canceller: Canceller
    upkeep: Upkeep
    consumer: Consumer
    signals: Signals


def main() -> None:
    settings = read_settings(ExecutorSettings)
    log = configure_logs("executor", settings.log_level)
    settings.warn_of_open_ways(log)
    try:
        credentials = load_credentials(settings.credentials)
        failpoints = Failpoints.parse(settings.failpoints)
        for venue in settings.stream_urls:
            _stream_url(settings, venue)
    except (CredentialError, ValueError, KeyError) as error:
        raise SystemExit(f"executor: {error}") from None

    async def body(process: Process) -> None:
        await run(process, settings, credentials, failpoints)

    run_service(body, log, open_tracing("executor"))


def _stream_url(settings: ExecutorSettings, venue: str) -> str | None:
    return stream_url(
        EVIDENCE[venue], settings.venue_urls.get(venue), settings.stream_urls.get(venue)
    )


async def run(
    process: Process,
    settings: ExecutorSettings,
    credentials: dict[str, Credential],
    failpoints: Failpoints,
) -> None:
    """Serves until the process stops; then: no new work, calls in flight heard and recorded,
    letters out, lock gone."""
    for part in ("database", "owner", "accounts", "kafka consumer"):
        process.health.trouble(part, "starting")
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    vitals = Vitals(registry, "executor", process.health)
    process.start(vitals.watch_loop(process, SystemClock()), "vitals")
    app = Starlette(routes=admin_routes(process.health, registry))
    process.start(serve(process, app, listen(settings.host, settings.admin_port)), "admin")
    pool = await pool_when_ready(
        process,
        settings.database_url,
        setting=settings.database_setting,
        application="orderonce-executor",
        size=settings.database_connections,
    )
    if pool is None:
        return
    vitals.watch_pool(pool)
    security = settings.kafka_security()
    publisher = Publisher(
        settings.kafka_bootstrap,
        "orderonce-executor",
        security,
        process.tracing,
        vitals.count_replaced,
    )
    try:
        timeline = await _own_timeline(process, pool, metrics)
        if timeline is not None:
            store = ClaimStore(pool, new_order_id(), timeline)
            parts = _wire(process, settings, credentials, failpoints, store, publisher, metrics)
            await _live(process, settings, parts, vitals)
    finally:
        await publisher.close()
        try:
            await asyncio.wait_for(pool.close(), RELAY_LIMIT_S)
        except TimeoutError:
            pool.terminate()


async def _own_timeline(process: Process, pool: Pool, metrics: Metrics) -> str | None:
    """The history of our rows, or None after having refused to work on another one until the
    process stops (R13)."""
    ours, present = await remember_timeline(pool)
    if ours == present:
        return ours
    sentence = (
        f"the database is on history {present}, but the executor's rows were written on {ours}:"
        " it failed over or was restored, and may have forgotten orders that are at the venues."
        " Nothing is claimed, sent or cancelled."
        " Compare the venues' open orders with the rows before anything else"
    )
    process.health.trouble("timeline", sentence)
    metrics.fenced.set(1)
    while not process.stopping.is_set():
        process.log.error("timeline-changed", ours=ours, present=present, todo=sentence)
        await process.pause(REFUSED_LOG_S)
    return None


def _doors(
    settings: ExecutorSettings, credentials: dict[str, Credential], clock: SystemClock
) -> tuple[OpenDoor, OpenStream]:
    """How an account is asked, and how it is listened to."""

    async def open_door(credential: Credential) -> Venue:
        return await Door.open(
            credential.venue,
            credential.account,
            credential,
            base_url=settings.venue_urls.get(credential.venue),
            monotonic=clock.monotonic,
            timeout_ms=settings.venue_timeout_ms,
        )

    def follow(lane: Lane) -> OrderStream | None:
        if not settings.stream:
            return None
        url = _stream_url(settings, lane.venue)
        return open_stream(credentials[lane.account], url, lane.door.time_ms, clock.monotonic)

    return open_door, follow


def _wire(
    process: Process,
    settings: ExecutorSettings,
    credentials: dict[str, Credential],
    failpoints: Failpoints,
    store: ClaimStore,
    publisher: Publisher,
    metrics: Metrics,
) -> Parts:
    clock = SystemClock()
    open_door, follow = _doors(settings, credentials, clock)
    budget = BudgetLimits(
        settings.requests_per_second,
        settings.burst,
        settings.reserve,
        settings.creates_in_flight,
    )
    patience = BreakerLimits(
        settings.breaker_failures, settings.breaker_unknowns, settings.breaker_pause_s
    )
    smallest = {venue: row.window_smallest_ms for venue, row in EVIDENCE.items()}
    limits = SendLimits(settings.window_ms, smallest)
    lanes, signals = Lanes(clock.monotonic), Signals()
    LaneNumbers(lanes, metrics.registry)
    owner = Owner(settings.database_url.get_secret_value(), store, process)
    metrics.lock_held.set_function(lambda: float(owner.alive))
    markets = Markets(
        store, lanes, credentials, open_door, budget, patience, process, clock, metrics
    )
    relay = Relay(store, publisher, process, settings.topic_prefix)
    recorder = Recorder(store, relay, lanes, signals, process, clock, metrics, failpoints)
    sender = Sender(store, lanes, recorder, owner, limits, process, clock, metrics, failpoints)
    looker = Looker(lanes, recorder, process, clock, metrics)
    lost_after_s = settings.venue_timeout_ms / 1000 + LOST_SLACK_S
    resolver = Resolver(store, looker, recorder, lanes, signals, process, clock, lost_after_s)
    tracker = Tracker(store, looker, recorder, lanes, process, clock)
    streams = Streams(store, lanes, recorder, looker, signals, process, clock, metrics, follow)
    canceller = Canceller(store, looker, signals, process, clock, metrics)
    adopter = Adopter(store, lanes, relay, process, metrics, resolver.hear_lost)
    upkeep = Upkeep(store, lanes, recorder, adopter, owner, process, clock, metrics)

    def on_claim(result: Claim) -> None:
        lanes.add(result.claimed)
        lanes.drop(result.canceled)
        canceller.at_once(result.to_cancel)

    consumer = Consumer(store, process, clock, metrics, failpoints, relay.take, on_claim)
    return Parts(
        owner,
        markets,
        relay,
        recorder,
        sender,
        resolver,
        tracker,
        streams,
        canceller,
        upkeep,
        consumer,
        signals,
    )


async def _live(process: Process, settings: ExecutorSettings, parts: Parts, vitals: Vitals) -> None:
    gc.collect()
    gc.freeze()  # what is loaded by now stays: looking through it again and again is waste
    gc.set_threshold(*GC_THRESHOLDS)
    owned, heard = asyncio.Event(), asyncio.Event()
    owning = asyncio.create_task(parts.owner.run(owned))
    await _either(process.stopping, owned)
    recording = asyncio.create_task(parts.recorder.run(heard))
    relaying = asyncio.create_task(parts.relay.run())
    for task in (owning, recording, relaying):
        task.add_done_callback(lambda done: _stop_if_died(process, done))
    _start_loops(process, parts)
    broker = consumer_broker(
        settings.kafka_bootstrap, "orderonce-executor", settings.kafka_security()
    )
    subscribe_batches(
        broker,
        prefixed(settings.topic_prefix, COMMANDS),
        group=prefixed(settings.topic_prefix, GROUP),
        process=process,
        handle=parts.consumer.handle,
        after_commit=parts.consumer.deliver,
        watch_lag=vitals.watch_lag,
    )
    process.start(run_consumer(broker, process, settings), "consumer")
    sending = asyncio.create_task(parts.sender.run())
    sending.add_done_callback(lambda done: _stop_if_died(process, done))
    await process.stopping.wait()
    # F16: nothing new; what is on the wire is heard and recorded; letters leave; then the lock ends
    # and others take up the rest. A database or a Kafka that is away is not waited for: what they
    # have not heard is in the rows, or asked of the venue again.
    await process.finish()
    await asyncio.wait([sending])
    for verb in (parts.streams, parts.canceller, parts.tracker, parts.resolver):
        await verb.finish()
    heard.set()
    await _end(recording, RECORD_LIMIT_S)
    await _end(relaying, RELAY_LIMIT_S)
    parts.owner.release()
    await _end(owning, RELAY_LIMIT_S)
    await parts.markets.close()


async def _end(task: "asyncio.Task[None]", limit_s: float) -> None:
    await asyncio.wait([task], timeout=limit_s)
    task.cancel()


def _start_loops(process: Process, parts: Parts) -> None:
    signals, markets, upkeep = parts.signals, parts.markets, parts.upkeep
    loops = [
        ("accounts", markets.admit, ACCOUNTS_EVERY_S, None),
        ("clocks", markets.measure_clocks, CLOCK_EVERY_S, signals.clock),
        ("instruments", markets.refresh_instruments, PRICES_EVERY_S, None),
        ("resolve", parts.resolver.step, POLL_S, signals.resolve),
        ("track", parts.tracker.step, POLL_S, signals.track),
        ("streams", parts.streams.step, POLL_S, parts.streams.wake),
        ("cancel", parts.canceller.step, POLL_S, signals.cancel),
        ("sweep", upkeep.sweep, SWEEP_S, None),
        ("adopt", upkeep.adopt, POLL_S, None),
        ("outbox", parts.relay.sweep, SWEEP_EVERY_S, None),
        ("counts", upkeep.count, COUNT_S, None),
    ]
    for name, step, every_s, wake in loops:
        process.start(process.repeat(name, step, every_s=every_s, wake=wake), name)


def _stop_if_died(process: Process, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        process.log.error("task-died", exc_info=error)
        process.stopping.set()


async def _either(*events: asyncio.Event) -> None:
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waiters:
        waiter.cancel()
