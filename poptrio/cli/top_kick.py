"""The question of ``poptrio top`` before it ends a call."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Static


class Question(ModalScreen[bool]):
    """Asks ``text``; y is yes, everything else that closes it is no."""

    CSS = """
    Question { align: center middle; }
    Question Static { width: auto; max-width: 80%; padding: 1 2; border: thick $error; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "Yes"),
        ("n,escape,enter,q", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """What the question looks like."""
        yield Static(f"{self._text}\n\ny: yes    n: no", markup=False)

    def action_answer(self, meant: bool) -> None:
        """It was answered."""
        self.dismiss(meant)
