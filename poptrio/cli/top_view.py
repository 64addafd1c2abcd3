"""The screen of ``poptrio top``, on textual. Asks in a task of its own, so that keys are never held up."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Protocol

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import DataTable, Footer, Input, Sparkline, Static, TabbedContent, TabPane

from poptrio.cli.happenings import why
from poptrio.cli.managing import printed, rate
from poptrio.cli.sessions import lines, local_time, who
from poptrio.cli.top_kick import Question
from poptrio.cli.top_table import Column, Rows
from poptrio.management.client import CannotAsk
from poptrio.observe.diagnosis import human_bytes, human_seconds
from poptrio.observe.log import escape

RATES_KEPT = 120
"""Looks that the graphs go back."""

FAILURES_SHOWN = 100

CALLS = (  # as far as the rates on 80 columns
    Column("call", 6, lambda session: str(session["call"]), "started", right=True),
    Column("user", 13, who, "user"),
    Column("peer", 15, lambda session: printed(session["peer"]), "peer"),
    Column("address", 15, lambda session: printed(session["address"]), "address"),
    Column("in/s", 9, lambda session: rate(session["rate_in"]), "rate_in", right=True),
    Column("out/s", 9, lambda session: rate(session["rate_out"]), "rate_out", right=True),
    Column("time", 8, lambda session: human_seconds(session["seconds"]), "seconds", right=True),
    Column("in", 9, lambda session: human_bytes(session["bytes_in"]), "bytes_in", right=True),
    Column("out", 9, lambda session: human_bytes(session["bytes_out"]), "bytes_out", right=True),
    Column("state", 14, lambda session: printed(session["state"])),
)
ORDERS = ("rate_in", "rate_out", "bytes_in", "bytes_out", "seconds", "user", "peer", "address", "started")
ASCENDING = frozenset({"user", "peer", "address", "started"})

FAILURES = (
    Column("time", 8, lambda failure: local_time(failure["time"])),
    Column("peer", 15, lambda failure: printed(failure["peer"])),
    Column("user", 20, who),
    Column("Windows", 15, lambda failure: " ".join(map(str, failure["windows_errors"])) or "-"),
    Column("why", 150, lambda failure: printed(failure["why"])),
)


class Asks(Protocol):
    """What is needed of a client of the API."""

    async def get(self, path: str, **query: object) -> dict[str, Any]:
        """What a GET answers."""

    async def post(self, path: str, **body: object) -> dict[str, Any]:
        """What a POST answers."""


class Top(App[None]):
    """Shows what ``client`` says, every ``interval`` seconds, with ``rows`` calls at most."""

    TITLE = "poptrio"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #totals, #status { height: 1; padding: 0 1; }
    #status { background: $error; color: $text; display: none; }
    #graphs { height: 2; }
    #graphs Sparkline { width: 1fr; margin: 0 1; height: 2; }
    #search { display: none; }
    TabbedContent, TabPane DataTable { height: 1fr; }
    TabPane { padding: 0; }
    #pane { display: none; height: 40%; border-top: solid $primary; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("k", "kick", "End the call"),
        ("s", "order", "Order"),
        ("r", "reverse", "Reverse"),
        ("slash", "search", "Search"),
        ("f", "tab('failures')", "Failures"),
        Binding("c", "tab('calls')", "Calls", show=False),
        Binding("escape", "close", "Close", show=False),
        ("q", "quit", "Quit"),
    ]

    def __init__(self, client: Asks, interval: float = 1.0, rows: int = 100) -> None:
        super().__init__()
        self._client = client
        self._every = interval
        self._most = rows
        self._order = ORDERS[0]
        self._descending = True
        self._text = ""
        self._again = asyncio.Event()
        # Not looked up on the screen: a question may lie over it.
        self._totals = Static("asking the server", id="totals", markup=False)
        self._status = Static(id="status", markup=False)
        self._graphs = {side: Sparkline([0.0], id=side) for side in ("in", "out")}
        self._search = Input(placeholder="user, host name, or the beginning of an address", id="search")
        self._details = Static(id="details", markup=False)
        self._pane = VerticalScroll(id="pane")
        self._tabs = TabbedContent(initial="calls")
        self._calls = Rows(CALLS)
        self._failures = Rows(FAILURES)
        self._detailed: Mapping[str, Any] | None = None
        self._rates = {side: deque[float](maxlen=RATES_KEPT) for side in ("in", "out")}

    def compose(self) -> ComposeResult:
        """What the screen has."""
        yield self._totals
        yield self._status
        with Horizontal(id="graphs"):
            yield from self._graphs.values()
        yield self._search
        with self._tabs:
            with TabPane("Calls", id="calls"):
                yield self._calls.table
            with TabPane("Failures", id="failures"):
                yield self._failures.table
        with self._pane:
            yield self._details
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self._calls.begin()
        self._failures.begin()
        self._calls.table.focus()
        self._show_order()
        self.run_worker(self._look_on())

    async def _look_on(self) -> None:
        while True:
            await self._look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), self._every)
            self._again.clear()

    def _look_now(self) -> None:
        """What is shown is to be something else."""
        self._again.set()

    async def _look(self) -> None:
        """Ask for all that is on the screen, and show it, or why nobody answers."""
        try:
            stats = await self._client.get("/v1/stats")
            page = await self._client.get(
                "/v1/sessions",
                order=self._order,
                descending=self._descending,
                limit=self._most,
                search=self._text or None,
            )
            failures = None
            if self._tabs.active == "failures":
                failures = (await self._client.get("/v1/failures", limit=FAILURES_SHOWN))["failures"]
            await self._look_closer()
        except CannotAsk as error:
            self._say(f"{error}; trying again")
            return
        self._say("")
        self._show_totals(stats, len(page["sessions"]), page["total"])
        self._calls.fill(page["sessions"], lambda session: session["session_id"])
        if failures is not None:
            self._failures.fill(failures, lambda failure: failure["session_id"] + failure["time"])

    async def _look_closer(self) -> None:
        """Bring the details up to date."""
        detailed = self._detailed
        if detailed is None or "call" not in detailed or "remedy" in detailed:
            return
        try:
            session = await self._client.get(f"/v1/sessions/{detailed['call']}")
        except CannotAsk as error:
            if error.status != 404:
                raise
            session = {"session_id": None}
        if self._detailed is not detailed:
            return
        if session["session_id"] == detailed["session_id"]:
            self._show_details("\n".join(f"{name:<16} {printed(value)}" for name, value in lines(session)))
        else:
            self._show_details(f"call {detailed['call']} of {who(detailed)} has ended")

    def _show_totals(self, stats: Mapping[str, Any], shown: int, fit: int) -> None:
        for side, rates in self._rates.items():
            rates.append(stats[f"rate_{side}"])
            self._graphs[side].data = list(rates)
        states = ", ".join(f"{count:,} {state}" for state, count in stats["calls"].items() if count)
        parts = [
            f"{stats['calls_total']:,} calls" + (f" ({states})" if states else ""),
            f"in {rate(stats['rate_in'])}  out {rate(stats['rate_out'])}",
            f"up for {human_seconds(stats['seconds'])}" + (", stopping" if stats["stopping"] else ""),
        ]
        if shown < fit or self._text:
            parts.append(f"{shown:,} of {fit:,} shown")
        self._totals.update("  ·  ".join(parts))

    def _say(self, text: str) -> None:
        self._status.update(escape(text))
        self._status.display = bool(text)

    def _show_details(self, text: str) -> None:
        self._details.update(Text(text))
        self._pane.display = bool(text)

    def _show_order(self) -> None:
        self._calls.mark(self._order, self._descending)

    def _order_by(self, order: str) -> None:
        if order == self._order:
            self._descending = not self._descending
        else:
            self._order, self._descending = order, order not in ASCENDING
        self._show_order()
        self._look_now()

    def action_order(self) -> None:
        """Order by the next of all orders."""
        self._order_by(ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)])

    def action_reverse(self) -> None:
        """The other way round."""
        self._order_by(self._order)

    def action_search(self) -> None:
        """Let a text be typed that calls must have."""
        self._search.display = True
        self._search.focus()

    def action_tab(self, name: str) -> None:
        """Show the calls or the failures."""
        self._tabs.active = name
        (self._calls if name == "calls" else self._failures).table.focus()
        self._look_now()

    def action_close(self) -> None:
        """Close what is open: the details, or else the search."""
        if self._detailed is not None:
            self._detailed = None
            self._show_details("")
        else:
            self._search.display = False
            self._search_for("")
        (self._calls if self._tabs.active == "calls" else self._failures).table.focus()

    def action_kick(self) -> None:
        """End the call under the cursor, if that is meant."""
        session = self._calls.selected
        if session is None or self._tabs.active != "calls":
            return
        who_and_where = f"call {session['call']} of {who(session)} from {printed(session['peer'])}"
        self.push_screen(Question(f"End {who_and_where}?"), self._kick_if(session))

    def _kick_if(self, session: Mapping[str, Any]) -> Callable[[bool | None], None]:
        def answered(meant: bool | None) -> None:
            if meant:
                self.run_worker(self._kick(session))

        return answered

    async def _kick(self, session: Mapping[str, Any]) -> None:
        try:
            # By its session id: the Call ID may be that of another call by now.
            kicked = await self._client.post("/v1/kick", session_id=session["session_id"], reason="poptrio top")
        except CannotAsk as error:
            self._say(str(error))
            return
        ended = "is told goodbye" if kicked["ended"] else "had ended already"
        self.notify(f"call {session['call']} {ended}")  # no name: notices have markup
        self._look_now()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a column orders by it."""
        if event.data_table is self._calls.table and (order := CALLS[event.column_index].order):
            self._order_by(order)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter shows a call or a failure in full."""
        if event.data_table is self._calls.table:
            self._detailed = self._calls.selected
            self._look_now()
        elif (failure := self._failures.selected) is not None:
            self._detailed = failure
            self._show_details(f"{printed(failure['peer'])} {who(failure)} {failure['cause']}\n{why(failure)}")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Calls must have what was typed."""
        self._search_for(event.value)

    def on_input_submitted(self) -> None:
        """Back to the calls that were found."""
        self._calls.table.focus()

    def _search_for(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._look_now()
