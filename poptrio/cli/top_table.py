"""Tables of ``poptrio top``: rows that are filled again and again, while cursor and scrolling stay where they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its width; ``order`` is what the API calls the order by it, ``right`` is for numbers."""

    name: str
    width: int
    text: Callable[[Record], str]
    order: str = ""
    right: bool = False

    def cell(self, text: str) -> Text:
        """``text`` as it stands there; no markup."""
        return Text(text, justify="right" if self.right else "left", no_wrap=True, overflow="ellipsis")


class _Table(DataTable[Text]):
    """A table that says in the footer what Enter does."""

    BINDINGS: ClassVar[list[BindingType]] = [("enter", "select_cursor", "Details")]


class Rows:
    """A table, and the records that it shows."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.table = _Table(cursor_type="row")
        self._columns = columns
        self._records: list[Record] = []
        self._texts: list[tuple[str, ...]] = []
        self._keys: list[str] = []

    def begin(self) -> None:
        """Make the columns, when the table is on the screen."""
        for column in self._columns:
            self.table.add_column(column.cell(column.name), width=column.width, key=column.name)

    @property
    def selected(self) -> Record | None:
        """The record under the cursor."""
        row = self.table.cursor_row
        return self._records[row] if 0 <= row < len(self._records) else None

    def fill(self, records: Sequence[Record], key: Callable[[Record], str]) -> None:
        """Show ``records``; the cursor stays with what it is on, known by its ``key``, where that is still there."""
        table, row = self.table, self.table.cursor_row
        under_cursor = self._keys[row] if 0 <= row < len(self._keys) else None
        texts = [tuple(column.text(record) for column in self._columns) for record in records]
        for number, (now, before) in enumerate(zip(texts, self._texts, strict=False)):
            for place, (text, old, column) in enumerate(zip(now, before, self._columns, strict=True)):
                if text != old:
                    table.update_cell_at(Coordinate(number, place), column.cell(text))
        for now in texts[len(self._texts) :]:
            table.add_row(*[column.cell(text) for text, column in zip(now, self._columns, strict=True)])
        while table.row_count > len(texts):
            table.remove_row(table.coordinate_to_cell_key(Coordinate(table.row_count - 1, 0)).row_key)
        self._records, self._texts, self._keys = list(records), texts, list(map(key, records))
        if under_cursor in self._keys and (now_at := self._keys.index(under_cursor)) != row:
            table.move_cursor(row=now_at, animate=False)

    def mark(self, order: str, descending: bool) -> None:
        """Show in the header which column orders the rows."""
        for column in self._columns:
            arrow = (" ▼" if descending else " ▲") if column.order == order else ""
            header = self.table.columns[next(key for key in self.table.columns if key.value == column.name)]
            header.label = column.cell(column.name + arrow)
        self.table.refresh()
