"""Renders `docs/venues.md` from the evidence table, so that the page cannot say anything else than
the code does.
"""

from collections.abc import Iterable

from orderonce_shared.venues.evidence import (
    EVIDENCE,
    Mark,
    Ruling,
    Source,
    VenueEvidence,
)

_MARKS = {
    Mark.LIVE: "seen on the venue itself",
    Mark.CAP: "the request that ccxt builds, captured",
    Mark.RUN: "provoked against a local server",
    Mark.CODE: "read in the source of ccxt",
    Mark.DOC: "the venue's own documentation",
    Mark.THIRD: "somebody else's text that quotes the venue",
    Mark.MEM: "from memory, unverified",
    Mark.OURS: "a choice of ours, on the safe side of what is known",
}


def render_evidence() -> str:
    """The whole page as Markdown, ending in a newline; the same text for the same table."""
    lines = [
        "# Venues: what is known, and how",
        "",
        "Generated from `orderonce_shared/venues/evidence.py`; change it there.",
        "",
        "Orders are placed only on what this page promises. A fact carries its mark:",
        "",
        *(f"- **{mark}**: {meaning}" for mark, meaning in _MARKS.items()),
        "",
    ]
    for venue in sorted(EVIDENCE):
        lines += _venue(EVIDENCE[venue])
    return "\n".join(lines).rstrip() + "\n"


def _venue(row: VenueEvidence) -> list[str]:
    return [
        f"## {row.title} (`{row.venue}`)",
        "",
        *_table(("fact", "value", "mark", "source"), _facts(row)),
        "",
        f"### Answers to a create at {row.venue}",
        "",
        "Only a word of this list whose ruling is not silence ends an attempt. Everything else",
        "(any 5xx, redirects, unknown codes, a cut or foreign answer) proves nothing.",
        "",
        *_table(("word", "name", "ruling", "pause", "mark", "source"), _words(row)),
        "",
    ]


def _facts(row: VenueEvidence) -> Iterable[tuple[str, ...]]:
    proof = "yes" if row.has_proof_path else "no"
    yield "proof path (look-up and fence)", proof, "", "follows from the rows below"
    for name, label, value in (
        ("ladder", "look-up ladder", ", then ".join(row.ladder)),
        ("fence", "fence", f"`{row.fence}`"),
        ("window_default_ms", "window, default", _ms(row.window_default_ms)),
        ("window_smallest_ms", "window, smallest", _ms(row.window_smallest_ms)),
        ("window_max_ms", "window, longest", _ms(row.window_max_ms)),
        ("ahead_tolerance_ms", "stamp ahead of the venue, at most", _ms(row.ahead_tolerance_ms)),
        ("step_allowance_ms", "clock step allowance", _ms(row.step_allowance_ms)),
        ("late_visibility_ms", "late visibility", _ms(row.late_visibility_ms)),
        ("client_id", "client id", _client_id(row)),
        ("not_found_code", 'look-up, "no such order"', f"`{row.not_found_code}`"),
        ("cancel_not_found", 'cancel, "no such order"', _said(row.cancel_not_found)),
        ("clock_off_code", "outside the window", f"`{row.clock_off_code}`"),
        ("cancel_is_final", "a cancel's reply is final", "yes" if row.cancel_is_final else "no"),
        ("look_up_retention_ms", "look-ups see back", _ms(row.look_up_retention_ms)),
        ("search_span_ms", "longest span of one search", _ms(row.search_span_ms)),
        ("page_rows", "rows per page", str(row.page_rows)),
        ("quote_orders", "market buys by quote amount", _yes(row.quote_orders)),
        ("order_stream", "a stream of the account's orders", _yes(row.order_stream)),
        ("plain_http_anywhere", "http:// to other machines", _yes(row.plain_http_anywhere)),
    ):
        yield label, value, *_source(row.sources[name])


def _words(row: VenueEvidence) -> Iterable[tuple[str, ...]]:
    for code, rule in sorted(row.codes.items(), reverse=True):
        yield f"`{code}`", rule.name, rule.ruling, _pause(rule.pause_ms), *_source(rule.source)
    for (code, text), ruling in sorted(row.texts.items()):
        yield f"`{code}`", f'"{text}"', ruling, "", *_source(row.sources["texts"])
    for status, rule in sorted(row.http.items()):
        word = f"HTTP {status} without a code"
        yield word, rule.name, rule.ruling, _pause(rule.pause_ms), *_source(rule.source)
    yield "anything else", "", Ruling.SILENCE, "", Mark.OURS, "an allow-list"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines]


def _source(source: Source) -> tuple[str, str]:
    return source.mark, source.where


def _client_id(row: VenueEvidence) -> str:
    rule = row.client_id
    return f"`{rule.alphabet}`, 1 to {rule.max_length}; {rule.duplicate_scope}"


def _said(word: tuple[int, str]) -> str:
    return f'`{word[0]}` "{word[1]}"'


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _pause(value: int) -> str:
    return _ms(value) if value else ""


def _ms(value: int) -> str:
    for unit, size in (("d", 86_400_000), ("min", 60_000), ("s", 1_000)):
        if value >= size and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} ms"
