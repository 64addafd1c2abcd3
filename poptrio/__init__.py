"""poptrio: a PPTP server (RFC 2637) in one Python program on Trio."""

__version__ = "0.1.0"
