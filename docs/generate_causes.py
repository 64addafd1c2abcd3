"""Write ``docs/reference/causes.md`` from `poptrio.errors.CauseOfEnd`.

``python docs/generate_causes.py`` writes it; a test compares it, so that it cannot fall behind.
"""

from pathlib import Path

from poptrio.errors import CauseOfEnd

REFERENCE = Path(__file__).resolve().parent / "reference" / "causes.md"

INTRODUCTION = """\
# Why calls end

Each call ends with one line `call ended` in the log ([log.md](log.md)). Its field `cause` is one of the labels below,
and `why` a sentence: the one below, made precise by what is known of the call. This page is generated from `CauseOfEnd`
in `poptrio/errors.py` by `make docs`.

The *result code* is what the client is told in Call-Disconnect-Notify (RFC 2637 §2.13), *Acct-Terminate-Cause* what
plugins may tell a RADIUS server (RFC 2866 §5.10). *Windows* are the numbers that a Windows client shows its user for
this cause; the log line names them as well, because that number is usually all that a user can tell you.
"""

HEADER = """\
| cause | why | result code | Acct-Terminate-Cause | Windows |
|---|---|---|---|---|
"""

BY_NUMBER = """\

## From the number on the user's screen

| Windows error | cause |
|---|---|
"""

NOT_HERE = """\

Error 800 is not in the table: the client could not reach TCP port 1723 at all, so there was no call that could end.
`poptrio dial` from where the client is says whether TCP gets through.
"""


def reference_page() -> str:
    """The text of ``docs/reference/causes.md``."""
    rows = "".join(map(_row, CauseOfEnd))
    numbers = sorted({number for cause in CauseOfEnd for number in cause.windows_errors})
    return "".join([INTRODUCTION, "\n", HEADER, rows, BY_NUMBER, *map(_number_row, numbers), NOT_HERE])


def _row(cause: CauseOfEnd) -> str:
    cells = [
        f"`{cause.label}`",
        cause.sentence,
        f"{_words(cause.disconnect_result.name)} ({cause.disconnect_result:d})",
        f"{_words(cause.terminate_cause.name)} ({cause.terminate_cause:d})",
        ", ".join(map(str, cause.windows_errors)),
    ]
    return f"| {' | '.join(cells)} |\n"


def _number_row(number: int) -> str:
    labels = ", ".join(f"`{cause.label}`" for cause in CauseOfEnd if number in cause.windows_errors)
    return f"| {number} | {labels} |\n"


def _words(name: str) -> str:
    """A code as the RFCs write it, for instance ``Lost Carrier``."""
    return name.replace("_", " ").title().replace("Nas", "NAS")


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(reference_page(), "utf-8")


if __name__ == "__main__":
    main()
