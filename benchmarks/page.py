"""The page of results, made from the history: `python -m benchmarks.page`. The newest run of each
benchmark in a table, and each one's ratio over its runs as a plot."""

import json
from pathlib import Path
from typing import Any

import pygal

RESULTS = Path(__file__).with_name("results")
INTRO = """# Results

Made by `python -m benchmarks.page` from `history.jsonl`; nothing here is written by hand. How to
read the figures: [../README.md](../README.md). A run on a machine with other work on it tells less:
`load` is the machine's load average at the end of the run, on so many cores.
"""
Row = dict[str, Any]


def main() -> None:
    rows = [json.loads(line) for line in (RESULTS / "history.jsonl").read_text().splitlines()]
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["benchmark"], []).append(row)
    parts = [INTRO]
    for name in sorted(by_name, key=lambda name: int(name[1:])):
        _plot(name, by_name[name])
        parts.append(_section(name, by_name[name]))
    (RESULTS / "README.md").write_text("\n".join(parts))


def _section(name: str, runs: list[Row]) -> str:
    last, machine = runs[-1], runs[-1]["machine"]
    lines = [
        f"## {name}\n",
        f"{last['workload']}. {last['at']}, commit `{last['commit']}`, {machine['cpu']},"
        f" {machine['cores']} cores, load {machine['load_1m']}.\n",
        "| figure | value |",
        "|---|---|",
    ]
    lines += [f"| {what} | {value:,.1f} |" for what, value in last["figures"].items()]
    for one in last["ratios"]:
        goal = "" if one["goal"] is None else f", goal {one['goal']:g}"
        lines.append(
            f"| **{one['what']}** | **{one['median']:.2f}**"
            f" ({one['low']:.2f} to {one['high']:.2f}{goal}) |"
        )
    for side, told in last["percentiles_ms"].items():
        told_text = " · ".join(f"{which} {ms:.1f} ms" for which, ms in told.items())
        lines.append(f"| {side} | {told_text} |")
    for side, spent in last["cpu_us"].items():
        shares = " · ".join(f"{part} {us:g}" for part, us in spent.items())
        lines.append(f"| CPU per {last['unit']}, {side}, us | {shares} |")
    lines += [f"\n{note}." for note in last["notes"]]
    lines += ["", f"`{last['command']}`", "", f"![{name} over its runs]({name.lower()}.svg)", ""]
    return "\n".join(lines)


def _plot(name: str, runs: list[Row]) -> None:
    """Each ratio over the runs; the goal is a line."""
    chart = pygal.Line(
        title=name, x_labels=[row["at"][:16] for row in runs], x_label_rotation=40,
        width=900, height=360, show_minor_x_labels=True, include_x_axis=True,
        legend_at_bottom=True, no_prefix=True, disable_xml_declaration=True,
    )  # fmt: skip
    for what in dict.fromkeys(one["what"] for row in runs for one in row["ratios"]):
        found = [next((o for o in row["ratios"] if o["what"] == what), None) for row in runs]
        chart.add(what, [None if one is None else round(one["median"], 3) for one in found])
    goals = {one["goal"] for row in runs for one in row["ratios"] if one["goal"] is not None}
    for goal in sorted(goals):
        chart.add(f"goal {goal:g}", [goal] * len(runs), show_dots=False, dashed=True)
    (RESULTS / f"{name.lower()}.svg").write_text(chart.render(is_unicode=True))


if __name__ == "__main__":
    main()
