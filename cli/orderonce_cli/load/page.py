"""The report as one HTML file that asks nobody for anything: plots are inline SVG, no script runs,
and the page's own policy forbids the browser to fetch.

Drawn from the JSON report alone. pygal draws the plots (the extra `plots`).
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from orderonce_cli.load.report import undecided
from orderonce_cli.problems import Problem

COLUMNS = ("p50", "p90", "p99", "p999", "max")
TITLES = {"p50": "50 %", "p90": "90 %", "p99": "99 %", "p999": "99.9 %", "max": "max"}
HOP_COLORS = {
    "start": "#9aa5b1", "accept": "#2563eb", "claimed": "#0d9488", "sent": "#65a30d",
    "venue": "#d97706", "final": "#dc2626", "heard": "#9333ea", "booked": "#475569",
    "read_back": "#0d9488",
}  # fmt: skip
LEVELS = (0.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999)
LOWEST_MS = 0.001
ROUNDING = 1e-6
FEW_POINTS = 3  # below it a line without dots would not be seen
# pygal puts its settings for a script of its own into each plot, and remarks with addresses.
_OWN_SCRIPT = re.compile(r"<script.*?</script>|<!--.*?-->|<defs>\s*</defs>", re.DOTALL)
FEWEST_BEYOND = 1  # a percentile is drawn only while so many samples lie beyond it

Point = tuple[float, float | None]
Series = tuple[str, str, list[Point]]  # name, colour, points


def render(report: dict[str, Any]) -> str:
    """The whole page. Raises Problem where pygal is not installed."""
    parts = [
        _head(report),
        _verdict(report),
        _cards(report),
        _ramp(report),
        '<section class="two"><div><h2>Where every order is</h2>' + _account(report) + "</div>",
        "<div><h2>Latency from the intended start, ms</h2>" + _hops(report) + "</div></section>",
        _plots(report),
        _facts(report),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _head(report: dict[str, Any]) -> str:
    style = files("orderonce_cli.load").joinpath("page.css").read_text()
    asked = report["asked"]
    title = f"{asked['rate']:g} orders/s via {asked['via']}"
    symbols = ", ".join(asked["symbols"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · orderonce load</title><style>{style}</style></head><body><main>
<header><h1>{escape(title)}</h1><p>{escape(asked["arrivals"])} arrivals for {asked["seconds"]:g} s ·
{len(asked["accounts"])} accounts · {escape(symbols)} · {escape(report["started_at"])} ·
run {escape(report["run"])}</p></header>"""


def _verdict(report: dict[str, Any]) -> str:
    good = report["holds"]
    words = (
        "Every accepted order has a final status or is known to be unknown."
        if good
        else "The account does not hold."
    )
    more = [*report["failures"], *(f"Warning: {words}" for words in report["warnings"])]
    if report["interrupted"]:
        more.append("The run was interrupted: the figures are of the time until then.")
    listed = "".join(f"<li>{escape(one)}</li>" for one in more)
    kind = "good" if good else "bad"
    return f'<div class="verdict {kind}"><strong>{words}</strong><ul>{listed}</ul></div>'


def _cards(report: dict[str, Any]) -> str:
    achieved, hops, counts = report["achieved"], report["hops"], report["counts"]
    last = "heard" if "heard" in hops else "read_back"
    cards = [
        ("sent", f"{achieved['sent_per_s']:,.0f}/s", f"of {report['asked']['rate']:,.0f}/s asked"),
        ("ended while sending", f"{achieved['final_per_s']:,.0f}/s", f"{counts['final']:,} in all"),
        ("accept, 99 %", _ms(hops.get("accept"), "p99"), f"50 %: {_ms(hops.get('accept'), 'p50')}"),
        (f"{last}, 99 %", _ms(hops.get(last), "p99"), f"50 %: {_ms(hops.get(last), 'p50')}"),
        ("dropped", f"{counts['dropped']:,}", "by the generator's own limit"),
        (
            "late sends",
            f"{report['generator']['late_sends']:,}",
            f"generator: {report['generator']['core_used']:.0%} of a core",
        ),
    ]
    shown = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><i>{escape(note)}</i></div>"
        for name, value, note in cards
    )
    return f'<section class="cards">{shown}</section>'


def _ramp(report: dict[str, Any]) -> str:
    """The steps of a search; the rest of the page is about the highest rate that was kept."""
    if "ramp" not in report:
        return ""
    rows = "".join(
        _row(
            (
                f"{step['rate']:,.4g}/s",
                "kept" if step["kept"] else "failed",
                "; ".join(step["reasons"]),
            ),
            "step" if step["kept"] else "part",
        )
        for step in report["ramp"]["steps"]
    )
    words = escape(report["ramp"]["verdict"])
    table = f'<table class="account">{rows}</table>'
    return f"<section><h2>The search</h2><p>{words}.</p>{table}</section>"


def _ms(hop: dict[str, Any] | None, name: str) -> str:
    if hop is None:
        return "–"
    value = hop[name]
    return f"{value:,.1f} ms" if value < 1000 else f"{value / 1000:,.2f} s"


def _account(report: dict[str, Any]) -> str:
    rows = []
    for line in report["account"]:
        if not line["step"] and not line["count"]:
            continue
        kind = "step" if line["step"] else "part" if line["name"].startswith(" ") else "less"
        rows.append(_row((line["name"].strip(), f"{line['count']:,}", line["meaning"]), kind))
    if report["booked"] is not None:
        booked = report["booked"]
        rows.append(
            _row(("booked", f"{booked['booked']:,}", f"of {booked['filled']:,} filled"), "")
        )
    told = [*undecided(report), *(("reason", *each) for each in report["reasons"].items())]
    rows += [_row((what, f"{count:,}", kind), "part") for kind, what, count in told]
    if report["retries"]:
        rows.append(_row(("repeated", f"{report['retries']:,}", "same key, same body"), "part"))
    return f'<table class="account">{"".join(rows)}</table>'


def _hops(report: dict[str, Any]) -> str:
    head = "".join(f"<th>{TITLES[name]}</th>" for name in COLUMNS)
    rows = []
    for hop, told in report["hops"].items():
        dot = f'<em style="background:{HOP_COLORS[hop]}"></em>{escape(hop)}'
        figures = "".join(f"<td>{told[name]:,.1f}</td>" for name in COLUMNS)
        rows.append(
            f'<tr title="{escape(told["meaning"])}"><th>{dot}</th>{figures}'
            f"<td>{told['count']:,}</td></tr>"
        )
    notes = "".join(
        f"<dt>{escape(hop)}</dt><dd>{escape(told['meaning'])}</dd>"
        for hop, told in report["hops"].items()
    )
    return (
        f'<table class="hops"><tr><th></th>{head}<th>orders</th></tr>{"".join(rows)}</table>'
        f"<dl>{notes}</dl>"
    )


def _row(cells: Sequence[str], kind: str) -> str:
    name, count, meaning = (escape(cell) for cell in cells)
    return f'<tr class="{kind}"><th>{name}</th><td>{count}</td><td class="why">{meaning}</td></tr>'


def _plots(report: dict[str, Any]) -> str:
    seconds = report["seconds"]
    figures = [
        _figure(
            "Latency by percentile",
            "ms, logarithmic; to the right what lies beyond",
            _percentile_plot(report),
        ),
        _figure(
            "Latency over time",
            "ms, logarithmic; by the second in which orders were meant to start",
            _time_plot(_latency_series(seconds), logarithmic=True),
        ),
        _figure(
            "Rate asked and kept",
            "orders a second; a gap between the lines is a backlog, a peak its end",
            _time_plot(
                [
                    ("asked", "#9aa5b1", _over(seconds, "scheduled")),
                    ("accepted", HOP_COLORS["accept"], _over(seconds, "accepted")),
                    ("ended", HOP_COLORS["final"], _over(seconds, "final")),
                ]
            ),
        ),
        _figure(
            "What waits",
            "orders; lag: records that the executors have not committed",
            _time_plot(
                [
                    ("without an end", HOP_COLORS["final"], _over(seconds, "unfinished")),
                    ("in flight", HOP_COLORS["accept"], _over(seconds, "in_flight")),
                    ("lag", HOP_COLORS["claimed"], _over(seconds, "lag")),
                ]
            ),
        ),
    ]
    return f'<section class="plots">{"".join(figures)}</section>'


def _figure(title: str, note: str, plot: str) -> str:
    return f"<figure><figcaption><b>{title}</b> {note}</figcaption>{plot}</figure>"


def _percentile_plot(report: dict[str, Any]) -> str:
    series: list[Series] = []
    beyond = 1.0
    for hop, told in report["hops"].items():
        points: list[Point] = []
        for level, ms in told["curve"]:
            if level < 100 and (1 - level / 100) * told["count"] >= FEWEST_BEYOND - ROUNDING:
                points.append((_nines(level), ms))
                beyond = max(beyond, _nines(level))
        series.append((hop, HOP_COLORS[hop], points))
    labels = [(_nines(p), f"{p:g} %") for p in LEVELS if _nines(p) <= beyond * 1.02]
    return _plot(series, labels, logarithmic=True)


def _nines(level: float) -> float:
    """0 at 0 %, 1 at 90 %, 2 at 99 %: what lies beyond, on a logarithmic axis."""
    return -math.log10(1 - level / 100)


def _latency_series(seconds: Sequence[dict[str, Any]]) -> list[Series]:
    wanted = (
        ("accept p50", "#93c5fd", "accept", "p50"),
        ("accept p99", "#2563eb", "accept", "p99"),
        ("end p50", "#fca5a5", "end", "p50"),
        ("end p99", "#dc2626", "end", "p99"),
        ("end max", "#7f1d1d", "end", "max"),
    )
    return [
        (name, color, [(row["second"], row[hop][level]) for row in seconds])
        for name, color, hop, level in wanted
    ]


def _over(seconds: Sequence[dict[str, Any]], member: str) -> list[Point]:
    return [(row["second"], row[member]) for row in seconds]


def _time_plot(series: Sequence[Series], logarithmic: bool = False) -> str:
    last = max((int(x) for _, _, points in series for x, _ in points), default=0)
    step = max(1, math.ceil(last / 10))
    labels = [(float(at), f"{at} s") for at in range(0, last + 1, step)]
    return _plot(series, labels, logarithmic)


def _plot(
    series: Iterable[Series], labels: Sequence[tuple[float, str]], logarithmic: bool = False
) -> str:
    """A plot with its legend. The logarithm is taken here: pygal's own would bend both axes."""
    kept = [(n, c, [(x, y) for x, y in points if y is not None]) for n, c, points in series]
    drawn = [(name, color, points) for name, color, points in kept if points]
    if not drawn:
        return "<p>nothing was measured</p>"
    chart = _chart([color for _, color, _ in drawn], dots=len(drawn[0][2]) < FEW_POINTS)
    chart.x_labels = [{"value": at, "label": label} for at, label in labels]
    if logarithmic:
        drawn = [(n, c, [(x, math.log10(max(y, LOWEST_MS))) for x, y in p]) for n, c, p in drawn]
        heights = [y for _, _, points in drawn for _, y in points]
        low, high = math.floor(min(heights)), math.ceil(max(heights))
        ticks = [d * 10.0**n for n in range(low, max(high, low + 1)) for d in (1, 2, 5)]
        ticks.append(10.0 ** max(high, low + 1))
        chart.y_labels = [
            {"value": math.log10(ms), "label": f"{ms:,g}"} for ms in _around(ticks, heights)
        ]
    else:
        chart.include_x_axis = True
        chart.value_formatter = _number
    for name, _, points in drawn:
        chart.add(name, points)
    plot = _OWN_SCRIPT.sub("", str(chart.render(is_unicode=True)))
    legend = "".join(
        f'<span><em style="background:{color}"></em>{escape(name)}</span>'
        for name, color, _ in drawn
    )
    return f'{plot}<div class="legend">{legend}</div>'


def _around(ticks: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The ticks within the plot, and one on either side."""
    low, high = 10.0 ** min(heights), 10.0 ** max(heights)
    below = [tick for tick in ticks if tick <= low]
    above = [tick for tick in ticks if tick >= high]
    return [*below[-1:], *(tick for tick in ticks if low < tick < high), *above[:1]]


def _chart(colors: Sequence[str], dots: bool) -> Any:
    try:
        import pygal
        from pygal.style import Style
    except ImportError as error:
        raise Problem("The page needs pygal: install orderonce[plots].") from error
    style = Style(
        background="transparent", plot_background="transparent", foreground="#52606d",
        foreground_strong="#1f2933", foreground_subtle="#e4e7eb", opacity=1, colors=tuple(colors),
        font_family="system-ui, sans-serif", label_font_size=13, major_label_font_size=13,
        guide_stroke_dasharray="1,0", major_guide_stroke_dasharray="1,0",
    )  # fmt: skip
    return pygal.XY(
        style=style, js=(), width=760, height=320, show_dots=dots, show_legend=False, margin=6,
        show_x_guides=True, disable_xml_declaration=True, stroke_style={"width": 2},
        truncate_label=-1,
    )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.2g}"


def _facts(report: dict[str, Any]) -> str:
    generator, clock, lag = report["generator"], report["clock"], report["lag"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    machine = report["machine"]
    facts = {
        "command": report["command"],
        "versions": versions,
        "machine": f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}",
        "generator": f"{generator['core_used']:.0%} of a core while sending; own delay 99 %: "
        f"{generator['delay_p99_ms']} ms, max {generator['delay_max_ms']} ms",
        "clocks": "not asked"
        if "services_ahead_ms" not in clock
        else f"the services' is {clock['services_ahead_ms']:+.1f} ms from the generator's, give or "
        f"take {clock['give_or_take_ms']:.1f} ms",
        "lag of the executors": "not known"
        if lag is None
        else f"{lag['min']} to {lag['max']}, {lag['last']} at the end",
    }
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(told))}</code></dd>"
        for name, told in facts.items()
    )
    return f'<section><h2>To repeat it</h2><dl class="facts">{listed}</dl></section>'
