"""`orderonce demo`: the whole line on real servers, with trouble on purpose, and the proof.

It talks HTTP like any user: places orders of every kind, repeats some with their keys, makes the
paper exchange misbehave, kills an executor in the middle, and then shows for each order the way
from key to journal, and what the books say.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

import httpx
import stamina
import typer

from orderonce_cli import output
from orderonce_cli.commands import demo_stacks
from orderonce_cli.commands.demo_plan import Intent, plan_orders
from orderonce_cli.commands.options import DataOption, JsonOption
from orderonce_cli.problems import Problem
from orderonce_cli.stack import layout, running

REQUEST_LIMIT_S = 5.0
SETTLE_LIMIT_S = (
    60.0  # an absence takes window + step allowance + late visibility + look-ups: about 10 s
)
BOOK_LIMIT_S = 30.0
LOOK_AGAIN_S = 0.2
RETRY_LIMIT_S = 30.0
UNMET = ("lapsed", "not_placed")  # of an order that nothing stood in the way of
UNFOLLOWED = ("rejected", "lapsed", "denied", "not_placed")
Json = dict[str, Any]


@dataclass
class Doors:
    """Where the running stack answers."""

    apis: list[str]
    ledger: str
    paper_control: str
    client: httpx.Client
    heard: list[Json] = field(default_factory=list)  # every request that was answered

    @classmethod
    def of(cls, view: Json) -> "Doors":
        headers = {"Authorization": f"Bearer {view['demo_key']}"}
        client = httpx.Client(headers=headers, timeout=REQUEST_LIMIT_S, trust_env=False)
        return cls(view["order_api"], view["ledger"], view["paper_control"], client)

    def send(self, path: str, body: Json, key: str) -> tuple[int, bytes]:
        """A blind retry, over all API processes in turn: the one thing a bot must get right."""
        for attempt in stamina.retry_context(
            on=(httpx.TransportError, httpx.HTTPStatusError),
            attempts=None,
            timeout=RETRY_LIMIT_S,
            wait_max=1.0,
        ):
            with attempt:
                url = self.apis[(attempt.num - 1) % len(self.apis)] + path
                reply = self.client.post(url, json=body, headers={"Idempotency-Key": key})
                if reply.status_code >= 500 or reply.status_code in (409, 429):
                    reply.raise_for_status()
                said = {"status": reply.status_code, "reply": reply.text}
                self.heard.append({"key": key, "path": path, "body": body, **said})
                return reply.status_code, reply.content
        raise AssertionError("the last attempt returns or raises")

    def get(self, url: str, **params: str | int) -> Json:
        """Reads are repeated too: a process may be on its way back."""
        for attempt in stamina.retry_context(
            on=(httpx.TransportError, httpx.HTTPStatusError),
            timeout=RETRY_LIMIT_S,
            attempts=None,
            wait_max=1.0,
        ):
            with attempt:
                reply = self.client.get(url, params=params)
                reply.raise_for_status()
                body: Json = reply.json()
                return body
        raise AssertionError("the last attempt returns or raises")


def demo(
    data: DataOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running.")] = False,
    json: JsonOption = False,
) -> None:
    """Start all, place orders, break things, show the proof, stop all. What ran before goes on."""
    where = layout.data_folder(data)
    view = running.kept_elsewhere(where)
    stack = demo_stacks.kept(view) if view is not None else demo_stacks.embedded(where, keep)
    with stack as (view, kill):
        result = _Show(view, kill, quiet=json).run()
    if json:
        output.as_json(result)
    if result["findings"]:
        raise Problem("The demo found: " + "; ".join(result["findings"]))
    if not json:
        stack.go_on()


class _Show:
    """One run. Findings are what must not be; an empty list is the point of it all."""

    def __init__(self, view: Json, kill: Callable[[], str], *, quiet: bool) -> None:
        self.doors = Doors.of(view)
        self.kill = kill  # an executor; gives what to say of it
        self.quiet = quiet
        self.findings: list[str] = []

    def run(self) -> Json:
        self.say("\nPlacing orders of every kind")
        intents = plan_orders(self._prices())
        troubled = [n for n, intent in enumerate(intents) if intent.label.startswith("venue ")]
        first, last = troubled[0], troubled[-1] + 1
        for intent in intents[:first]:
            self.place(intent)
        self.repeat(intents[:4])
        self.trouble(intents[first:last])
        self.wait_sent(intents[:last])
        self.kill_an_executor(intents[last:])
        self.cancel([i for i in intents if i.label.startswith("resting")])
        self.settle(intents)
        return self.judge(intents)

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)

    def _prices(self) -> dict[str, Json]:
        body = self.doors.get(f"{self.doors.apis[0]}/v1/instruments", account="paper-1")
        return {row["symbol"]: row for row in body["instruments"]}

    def place(self, intent: Intent) -> None:
        status, content = self.doors.send("/v1/orders", intent.body, intent.key)
        intent.replies.append((status, content))
        self.say(f"  {status}  {intent.label}")
        if status not in (202, 422):
            self.findings.append(f"{intent.label}: {status} {content.decode()[:200]}")

    def repeat(self, intents: list[Intent]) -> None:
        self.say(
            "\nThe same keys again, as a bot does that lost the replies: the same bytes come back"
        )
        for intent in intents:
            again = self.doors.send("/v1/orders", intent.body, intent.key)
            same = again == intent.replies[0]
            self.say(f"  {again[0]}  {'identical' if same else 'DIFFERENT'}  {intent.label}")
            if not same:
                self.findings.append(f"{intent.label}: a retry got another reply")

    def trouble(self, intents: list[Intent]) -> None:
        """Two faults at the venue: one executes and never answers, one refuses for a moment."""
        for name, intent in zip(("accept_then_timeout", "rate_limit"), intents, strict=True):
            self.say(f"\nThe venue misbehaves: {name}")
            symbol = intent.body["symbol"].replace("/", "")
            match = {
                "method": "POST",
                "path": "/api/v3/order",
                "account": intent.body["account"],
                "symbol": symbol,
            }
            armed = self.doors.client.post(
                f"{self.doors.paper_control}/control/faults",
                json={"name": name, "match": match, "times": 1},
            )
            armed.raise_for_status()
            self.place(intent)

    def wait_sent(self, intents: list[Intent]) -> None:
        """Until these have been at the venue: the kill shall meet its own orders, and what an
        executor dies with between its intent and the first byte ends proven absent.
        """
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while any(self._order(intent)["status"] in ("accepted", "sending") for intent in intents):
            if time.monotonic() > deadline:
                return  # `settle` names them
            time.sleep(LOOK_AGAIN_S)

    def kill_an_executor(self, intents: list[Intent]) -> None:
        self.say("\nkill -9 of an executor in the middle")
        for number, intent in enumerate(intents):
            self.place(intent)
            if number == len(intents) // 2:
                self.say(f"  ---  {self.kill()} is dead")

    def cancel(self, intents: list[Intent]) -> None:
        self.say("\nCanceling what rests")
        for intent in intents:
            order_id = self._order(intent)["order_id"]
            status, _ = self.doors.send(f"/v1/orders/{order_id}/cancel", {}, f"cancel-{intent.key}")
            self.say(f"  {status}  {intent.label}")

    def _order(self, intent: Intent) -> Json:
        return self.doors.get(f"{self.doors.apis[0]}/v1/orders/by-key/{intent.key}")

    def settle(self, intents: list[Intent]) -> None:
        """Follows every order to its final status; unknown is shown when it is first seen."""
        self.say("\nFollowing every order to its end")
        waiting, deadline = list(intents), time.monotonic() + SETTLE_LIMIT_S
        told: set[str] = set()
        while waiting and time.monotonic() < deadline:
            for intent in waiting:
                intent.order = self._order(intent)
                if intent.order["status"] == "unknown" and intent.key not in told:
                    told.add(intent.key)
                    self.say(
                        f"  unknown for now: {intent.label}: {intent.order['reason']['detail']}"
                    )
            waiting = [intent for intent in waiting if not intent.order["final"]]
            time.sleep(LOOK_AGAIN_S if waiting else 0)
        counts = Counter(str(intent.order["status"]) for intent in intents)
        self.say("  " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
        self.findings += [f"{i.label}: still {i.order['status']}" for i in waiting]

    def judge(self, intents: list[Intent]) -> Json:
        creates = self._creates()
        for intent in intents:
            count = creates[intent.order["client_order_id"]]
            unplaced = (
                intent.order["status"] in UNFOLLOWED or intent.order["venue_order_id"] is None
            )
            if count > 1 or (count == 1 and unplaced) or (count == 0 and not unplaced):
                self.findings.append(
                    f"{intent.label}: {intent.order['status']}, {count} orders at the venue"
                )
            if intent.order["status"] in UNMET and not intent.label.startswith("around the kill"):
                self.findings.append(f"{intent.label}: {intent.order['status']}, for no reason")
        run = self._reconciled(intents)
        rows = self._trail(intents)
        breaks = self.doors.get(f"{self.doors.ledger}/v1/breaks", status="open")["breaks"]
        if breaks:
            self.findings.append(
                f"{len(breaks)} open breaks: {sorted({b['type'] for b in breaks})}"
            )
        if not run["proven"]:
            self.findings.append(
                f"the proof is not zero everywhere, or a run failed: {run['status']}"
            )
        self._print(intents, rows, run, breaks)
        return {
            "orders": rows,
            "reconciliation": run,
            "open_breaks": breaks,
            "findings": self.findings,
            "requests": self.doors.heard,
        }

    def _creates(self) -> Counter[str]:
        book = self.doors.get(f"{self.doors.paper_control}/control/orders")["orders"]
        return Counter(row["client_order_id"] for row in book)

    def _reconciled(self, intents: list[Intent]) -> Json:
        """Reconciles until nothing is in flight: fills may still travel through Kafka."""
        self.say("\nReconciling the ledger with the venue's own trades and balances")
        deadline = time.monotonic() + BOOK_LIMIT_S
        while True:
            reply = self.doors.client.post(
                f"{self.doors.ledger}/v1/reconciliations", json={}, timeout=60
            )
            reply.raise_for_status()
            run: Json = reply.json()
            moving = any(Decimal(row["in_flight"]) != 0 for row in run["proof"])
            if (run["proven"] and not moving) or time.monotonic() > deadline:
                return run
            time.sleep(LOOK_AGAIN_S)

    def _trail(self, intents: list[Intent]) -> list[Json]:
        """key -> order id -> venue order id -> journals, from the ledger's own answer."""
        rows = []
        for intent in intents:
            order = intent.order
            fills = self.doors.get(
                f"{self.doors.ledger}/v1/fills", order_id=order["order_id"], limit=100
            )["fills"]
            booked = sum((Decimal(fill["quantity"]) for fill in fills), Decimal(0))
            if booked != Decimal(order["filled_quantity"]):
                self.findings.append(
                    f"{intent.label}: filled {order['filled_quantity']}, booked {booked}"
                )
            rows.append(
                {
                    "key": intent.key,
                    "what": intent.label,
                    "status": order["status"],
                    "order_id": order["order_id"],
                    "venue_order_id": order["venue_order_id"],
                    "journals": [fill["journal"] for fill in fills],
                }
            )
        return rows

    def _print(
        self, intents: list[Intent], rows: list[Json], run: Json, breaks: list[Json]
    ) -> None:
        if self.quiet:
            return
        print("\nkey -> order id -> venue order id -> journal ids")
        for row in rows:
            journals = " ".join(row["journals"]) or "-"
            print(f"  {row['what']}: {row['status']}")
            venue_order = row["venue_order_id"] or "-"
            print(f"    {row['key']} -> {row['order_id']} -> {venue_order} -> {journals}")
        matched = sum(one["matched"] for one in run["runs"])
        print(f"\nreconciliation {run['id']}: {matched} trades matched, {len(breaks)} open breaks")
        print("proof = venue - ledger - explained by breaks - in flight")
        moved = {
            (intent.body["account"], asset)
            for intent in intents
            for asset in intent.body["symbol"].split("/")
        }
        shown = [row for row in run["proof"] if (row["account"], row["asset"]) in moved]
        for row in shown:
            venue, ledger, proof = (
                _plain(row[name]) for name in ("venue_balance", "ledger_balance", "proof")
            )
            print(
                f"  {row['account']} {row['asset']:5} venue {venue}  ledger {ledger}  proof {proof}"
            )
        rest = "all zero" if run["proven"] else "see --json"
        print(f"  and {len(run['proof']) - len(shown)} balances that nothing moved: {rest}")


def _plain(amount: str) -> str:
    """Without trailing zeros, never with an exponent; the digits that count all stay."""
    return amount.rstrip("0").rstrip(".") if "." in amount else amount
