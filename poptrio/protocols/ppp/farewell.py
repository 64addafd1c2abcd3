"""What a peer says in the Data of an LCP Terminate-Request (RFC 1661 §5.5): free text, or Windows' error number."""

import re

_WINDOWS_MARK = b"\x00\x3c\xcd\x74"
"""Windows sends its Magic-Number, these four octets, and the error number that it shows its user (0: hung up)."""

_PRINTABLE = re.compile(rb"[\x20-\x7e]{3,100}")


def read_farewell(data: bytes) -> str:
    """The reason in ``data`` for a log line, empty where there is none that a person could read."""
    if len(data) == 12 and data[4:8] == _WINDOWS_MARK:
        number = int.from_bytes(data[8:], "big")
        return f"Windows error {number}" if number else ""
    return f"'{data.decode('ascii')}'" if _PRINTABLE.fullmatch(data) else ""
