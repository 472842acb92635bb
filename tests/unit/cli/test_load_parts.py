"""The load generator's pure parts: arrivals, histograms, the spread of orders, the search."""

import itertools
import math
import random

import pytest
from hdrh.histogram import HdrHistogram
from orderonce_cli.load import arrivals
from orderonce_cli.load.hops import Latencies, percentile
from orderonce_cli.load.kafka import Access, partitions_used
from orderonce_cli.load.orders import Market, Spread, markets_of, paper_markets
from orderonce_cli.load.ramp import PRECISION, Bound, Search, verdict, why_failed

# arrivals


def test_constant_arrivals_are_evenly_spaced_and_all_there() -> None:
    starts = arrivals.schedule("constant", 250.0, 2.0, seed=1)
    assert len(starts) == 500
    assert all(
        later - earlier == pytest.approx(0.004) for earlier, later in itertools.pairwise(starts)
    )


def test_poisson_arrivals_repeat_with_their_seed_and_have_the_rate_asked() -> None:
    first = arrivals.schedule("poisson", 200.0, 50.0, seed=7)
    assert first == arrivals.schedule("poisson", 200.0, 50.0, seed=7)
    assert first != arrivals.schedule("poisson", 200.0, 50.0, seed=8)
    assert list(first) == sorted(first)
    assert first[-1] < 50.0
    assert len(first) == pytest.approx(10_000, rel=0.05)  # five standard deviations
    gaps = [later - earlier for earlier, later in itertools.pairwise(first)]
    spread = math.sqrt(sum((gap - 0.005) ** 2 for gap in gaps) / len(gaps))
    assert spread == pytest.approx(0.005, rel=0.1), "a Poisson gap deviates by its own mean"


def test_a_run_that_would_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="orders in one run"):
        arrivals.schedule("constant", 100_000.0, 3_600.0, seed=1)


# histograms


def test_added_histograms_are_the_histogram_of_all_samples() -> None:
    source = random.Random(3)
    samples = [source.expovariate(20.0) for _ in range(2_000)]
    whole, left, right = Latencies(), Latencies(), Latencies()
    for number, sample in enumerate(samples):
        whole.record(sample)
        (left if number % 3 else right).record(sample)
    left.add(right)
    assert left.summary() == whole.summary()
    assert left.count == 2_000


def test_a_histogram_keeps_every_sample_however_large() -> None:
    seen = Latencies()
    for seconds in (0.0, 1e-9, 0.010, 7_200.0):
        seen.record(seconds)
    assert seen.count == 4
    assert seen.most() == pytest.approx(3_600_000.0, rel=0.001)


def test_percentiles_are_within_a_thousandth() -> None:
    seen = Latencies()
    for ms in range(1, 1_001):
        seen.record(ms / 1e3)
    for level in (50.0, 90.0, 99.0, 99.9):
        assert seen.at(level) == pytest.approx(level * 10, rel=0.002)


def test_the_kept_text_is_read_by_any_hdrhistogram() -> None:
    seen = Latencies()
    seen.record(0.250)
    read = HdrHistogram.decode(seen.encoded())
    assert read.get_total_count() == 1
    assert read.get_max_value() == pytest.approx(250_000, rel=0.001)


def test_the_percentile_of_a_few_values_is_one_of_them() -> None:
    assert percentile([5.0, 1.0, 3.0], 50) == 3.0
    assert percentile([5.0, 1.0, 3.0], 99) == 5.0
    assert math.isnan(percentile([], 50))


# orders


def test_orders_are_spread_over_accounts_symbols_and_sides_evenly() -> None:
    spread = Spread(("a", "b", "c"), (Market("BTC/USDT", "1"), Market("ETH/USDT", "2")))
    seen = [spread.order(number) for number in range(120)]
    counted: dict[tuple[str, str, str], int] = {}
    for order in seen:
        name = (order.account, order.symbol, order.side)
        counted[name] = counted.get(name, 0) + 1
    assert len(counted) == 12
    assert set(counted.values()) == {10}
    assert seen[17] == spread.order(17), "an order's terms can be told again"


def test_ioc_orders_cross_the_reference_price_on_the_venues_tick() -> None:
    row = {
        "symbol": "BTC/USDT", "reference_price": "60000.5", "tick_size": "0.01",
        "step_size": "0.00001", "min_notional": "5", "min_quantity": "0.00001",
    }  # fmt: skip
    spread = Spread(("a",), markets_of(["BTC/USDT"], [row], None), "ioc")
    buy, sell = spread.order(0), spread.order(1)
    assert (buy.side, buy.price, buy.time_in_force) == ("buy", "60600.50", "ioc")
    assert (sell.side, sell.price) == ("sell", "59406.43")
    assert buy.quantity == "0.00025", "three times the least notional, rounded up to the step"


def test_a_symbol_that_cannot_be_traded_is_named() -> None:
    with pytest.raises(ValueError, match="ABC/USDT"):
        markets_of(["ABC/USDT"], [], None)
    with pytest.raises(ValueError, match="ABC/USDT: give --quantity"):
        paper_markets(["ABC/USDT"], None)
    assert paper_markets(["ABC/USDT"], "2") == [Market("ABC/USDT", "2")]


def test_one_account_is_one_partition() -> None:
    assert partitions_used(["paper-1"], 12) == 1
    assert partitions_used([f"paper-{n}" for n in range(1, 9)], 12) == 4
    assert partitions_used([f"account-{n}" for n in range(500)], 12) == 12


def test_a_password_is_in_no_representation() -> None:
    access = Access("b:1", "SASL_PLAINTEXT", "PLAIN", "me", "hunter2")
    assert "hunter2" not in repr(access)
    assert access.options()["sasl_plain_password"] == "hunter2"


# the search


def run_search(search: Search, capacity: float) -> list[float]:
    """A line that keeps every rate up to its capacity; gives the rates tried."""
    tried = []
    while (rate := search.next_rate()) is not None:
        tried.append(rate)
        search.tell(rate, rate <= capacity)
    return tried


@pytest.mark.parametrize("capacity", [3.0, 100.0, 137.0, 640.0, 9_999.0])
def test_the_search_finds_the_highest_kept_rate(capacity: float) -> None:
    search = Search(first=100.0, most=100_000.0)
    run_search(search, capacity)
    assert search.kept is not None
    assert search.failed is not None
    assert search.kept <= capacity < search.failed <= search.kept * (1 + PRECISION)


def test_the_search_ends_at_the_highest_rate_allowed() -> None:
    search = Search(first=100.0, most=350.0)
    assert run_search(search, 10_000.0) == [100.0, 200.0, 350.0]
    assert "the highest rate to be tried" in verdict(search, Bound("heard", 50), 30, [])


def test_a_line_that_keeps_nothing_ends_the_search_with_the_reasons() -> None:
    search = Search(first=64.0, most=1_000.0)
    tried = run_search(search, 0.0)
    assert tried[:3] == [64.0, 32.0, 16.0]
    assert min(tried) >= 0.5
    told = verdict(search, Bound("heard", 50), 30, ["heard p99 70 ms > 50 ms"])
    assert told.startswith("no rate was kept")
    assert told.endswith("heard p99 70 ms > 50 ms")


def step(**changes: object) -> dict[str, object]:
    counts = dict.fromkeys(
        ("dropped", "refused", "unanswered", "denied_at_once", "final_denied", "final_lapsed",
         "unknown"), 0,
    )  # fmt: skip
    told: dict[str, object] = {
        "counts": counts | dict(changes.pop("counts", {})),  # type: ignore[call-overload]
        "achieved": {"sent_per_s": 100.0, "final_per_s": 97.0, "seconds": 30.0},
        "generator": {"was_the_limit": False, "core_used": 0.2, "delay_p99_ms": 1.0},
        "hops": {"heard": {"p99": 40.0}},
        "failures": [],
    }
    return told | changes


def test_a_kept_rate_has_no_reason_to_fail() -> None:
    assert why_failed(step(), Bound("heard", 50.0)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hops": {"heard": {"p99": 812.0}}}, "heard p99 812 ms > 50 ms"),
        ({"hops": {}}, "the hop heard was not measured"),
        ({"counts": {"dropped": 3}}, "3 dropped"),
        ({"counts": {"unanswered": 2}}, "2 refused or unanswered"),
        ({"counts": {"final_lapsed": 4}}, "4 lapsed"),
        ({"counts": {"unknown": 1}}, "1 unknown"),
        (
            {"achieved": {"sent_per_s": 100.0, "final_per_s": 60.0, "seconds": 30.0}},
            "1,200 orders were waiting when the sending ended: a backlog was growing",
        ),
        (
            {"failures": ["5 accepted orders were not claimed"]},
            "5 accepted orders were not claimed",
        ),
    ],
)
def test_a_failed_rate_says_why(changes: dict[str, object], words: str) -> None:
    assert why_failed(step(**changes), Bound("heard", 50.0)) == [words]


def test_the_generators_own_limit_is_not_blamed_on_the_line() -> None:
    slow = {"was_the_limit": True, "core_used": 0.97, "delay_p99_ms": 60.0}
    (why,) = why_failed(step(generator=slow, hops={"heard": {"p99": 70.0}}), Bound("heard", 50.0))
    assert "the generator itself was the limit: 97% of a core" in why
    assert why_failed(step(generator=slow), Bound("heard", 50.0)) == [], "it was kept all the same"
