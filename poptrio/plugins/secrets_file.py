"""pppd's secrets file (pppd(8), AUTHENTICATION): one row per line with client, server, secret and addresses.

Read as pppd reads it, quirks included, except where pppd passes over a mistake in silence: here every line that cannot
be meant is a fault. Beyond pppd, a secret may be an NT hash. No fault quotes a word of the file, which may be a secret.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from poptrio.api import ConfigError, ConfigFault

WILDCARD = "*"

ANY_ADDRESS = (IPv4Network("0.0.0.0/0"),)

_TOKEN = re.compile(
    rb"""
      (?P<blank>    [ \t\r\v\f]+ | \\\n | \#[^\n]* )
    | (?P<newline>  \n )
    | "(?P<double>  (?: [^"\\\n] | \\[\s\S] )* )"
    | '(?P<single>  (?: [^'\\\n] | \\[\s\S] )* )'
    | (?P<open>     ["'] [^\n]* )
    | (?P<plain>    (?: [^\s\#\\] | \\[\s\S] )+ )
    | (?P<dangling> \\ )
    """,
    re.X,
)
_ESCAPE = re.compile(rb"\\(\n|[0-7]{1,3}|x[0-9A-Fa-f]{0,2}|[\s\S])")
_CONTROLS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"s": b" ", b"t": b"\t", b"\n": b""}
_NT_HASH = re.compile(r"[0-9A-Fa-f]{32}")
_NETWORK = re.compile(r"([0-9.]+)(?:/([0-9]{1,2})\+?)?")


@dataclass(frozen=True, slots=True)
class Secret:
    """A password, or the 16-octet NT hash of one (RFC 2759 §8.3); ``file`` is the other file that it came from."""

    password: str | None = field(default=None, repr=False)
    nt_hash: bytes | None = field(default=None, repr=False)
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``networks`` are the addresses that the client may get, the preferred first; empty is none at all."""

    line: int
    client: str
    server: str
    secret: Secret
    networks: tuple[IPv4Network, ...] = ANY_ADDRESS

    @property
    def address(self) -> IPv4Address | None:
        """The one address of the client, when there is exactly one."""
        only = self.networks[0] if len(self.networks) == 1 else None
        return only.network_address if only is not None and only.prefixlen == 32 else None


def parse_secrets(
    data: bytes, name: str, read_file: Callable[[Path], bytes] = Path.read_bytes, *, encrypted: bool = False
) -> list[Row]:
    """Return the rows of a secrets file with the octets ``data``; secrets given as ``@/path`` come from ``read_file``.

    ``encrypted``: every secret is an NT hash in hexadecimal. ``name`` stands for the file in faults. Raises
    `ConfigError` with a fault for every line that is wrong.
    """
    rows: list[Row] = []
    faults: list[ConfigFault] = []
    for line, words in _lines(data):
        try:
            rows.append(_row(line, words, read_file, encrypted))
        except ValueError as error:
            faults.append(ConfigFault(f"{name}:{line}", str(error)))
    if faults:
        raise ConfigError(*faults)
    return rows


def _lines(data: bytes) -> Iterator[tuple[int, list[bytes | ValueError]]]:
    """The words of each line that has any, with its number; an error stands for a word that cannot be read."""
    data = data.removeprefix(BOM_UTF8)
    line = started = 1
    words: list[bytes | ValueError] = []
    for token in _TOKEN.finditer(data):
        kind = token.lastgroup
        if kind == "newline":
            if words:
                yield started, words
            words = []
        elif kind != "blank":
            started = started if words else line
            words.append(_word(kind, token))
        line += token[0].count(b"\n")
    if words:
        yield started, words


def _word(kind: str | None, token: re.Match[bytes]) -> bytes | ValueError:
    if kind == "open":
        return ValueError("a quote is opened and not closed on the same line")
    if kind == "dangling":
        return ValueError("the file ends in a backslash")
    return _ESCAPE.sub(_unescape, token[kind or 0])


def _unescape(escape: re.Match[bytes]) -> bytes:
    """The octet that a backslash sequence stands for, by pppd's table."""
    code = escape[1]
    if code in _CONTROLS:
        return _CONTROLS[code]
    if code[0] in b"01234567":
        return bytes([int(code, 8) & 0xFF])
    if code[0] in b"x":
        return bytes([int(code[1:] or b"0", 16)])
    return code


def _row(line: int, words: list[bytes | ValueError], read_file: Callable[[Path], bytes], encrypted: bool) -> Row:
    """Raises ValueError with a sentence."""
    texts = [_text(number, word) for number, word in enumerate(words, start=1)]
    if len(texts) < 3:
        there = "1 word" if len(texts) == 1 else f"{len(texts)} words"
        raise ValueError(f"{there} only; a line needs client, server and secret")
    client, server, secret, *addresses = texts
    return Row(line, client, server, _secret(secret, read_file, encrypted), _networks(addresses))


def _text(number: int, word: bytes | ValueError) -> str:
    if isinstance(word, ValueError):
        raise word
    if b"\0" in word:
        raise ValueError(f"word {number} contains a zero octet")
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"word {number} is not UTF-8; convert the file, for instance with iconv") from None


def _secret(word: str, read_file: Callable[[Path], bytes], encrypted: bool) -> Secret:
    if not word.startswith("@/"):
        return _inline_secret(word, encrypted, None)
    file = Path(word[1:])
    try:
        data = read_file(file)
    except OSError as error:
        raise ValueError(f"the secret file {file} cannot be read: {error.strerror}") from None
    first = next((words[0] for _, words in _lines(data)), b"")
    return _inline_secret(_text(1, first), encrypted, file)


def _inline_secret(word: str, encrypted: bool, file: Path | None) -> Secret:
    where = f" in {file}" if file else ""
    if not word:
        raise ValueError(f"the secret{where} is empty, so anybody who knows the name could log in")
    marked = word.startswith("nthash:")
    if not (marked or encrypted):
        return Secret(password=word, file=file)
    digits = word.removeprefix("nthash:")
    if not _NT_HASH.fullmatch(digits):
        why = "after nthash:" if marked else "because of encrypted = true"
        raise ValueError(f"the secret{where} must be an NT hash of 32 hexadecimal digits {why}")
    return Secret(nt_hash=bytes.fromhex(digits), file=file)


def _networks(words: list[str]) -> tuple[IPv4Network, ...]:
    """What the address column permits: the first word that covers an address decides about it; no word permits all."""
    if not words:
        return ANY_ADDRESS
    if "--" in words:
        raise ValueError("pppd's options for a user (after --) are not supported; remove them")
    permitted: list[IPv4Network] = []
    hosts: list[IPv4Network] = []
    decided: list[IPv4Network] = []
    for number, word in enumerate(words, start=4):
        if word == "-":
            break
        network = ANY_ADDRESS[0] if word == WILDCARD else _network(word.removeprefix("!"), number)
        undecided = _without(network, decided)
        decided.append(network)
        if not word.startswith("!"):
            permitted += undecided
            if network.prefixlen == 32 and any(network.subnet_of(other) for other in permitted):
                hosts.append(network)
        if word == WILDCARD:
            break
    return tuple(dict.fromkeys(hosts + permitted))  # pppd proposes a single address before any network


def _network(word: str, number: int) -> IPv4Network:
    found = _NETWORK.fullmatch(word)
    try:
        network = IPv4Network((found[1], int(found[2] or 32)), strict=False) if found else None
    except ValueError:
        network = None
    if network is None:
        remedy = "addresses are numbers here, and a secret with blanks or # in it needs quotes"
        raise ValueError(f"word {number} is not an address, network, - or *; {remedy}")
    if (
        network.prefixlen == 0
        or network.is_loopback
        or network.is_multicast
        or network.is_reserved
        or network.is_unspecified
    ):
        raise ValueError(f"word {number} is no address that a client can have")
    return network


def _without(network: IPv4Network, decided: list[IPv4Network]) -> list[IPv4Network]:
    """The parts of ``network`` that lie in none of ``decided``."""
    parts = [network]
    for other in decided:
        if any(part.subnet_of(other) for part in parts):
            parts = [part for part in parts if not part.subnet_of(other)]
        parts = [
            piece
            for part in parts
            for piece in (sorted(part.address_exclude(other)) if other.subnet_of(part) else [part])
        ]
    return parts
