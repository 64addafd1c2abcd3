"""The names of the TUNs of one server."""


def interface_of(interface: str, worker: int) -> str:
    """The name of a worker's TUN: ``interface`` is the first one's, the others count up from the number at its end."""
    name = interface.rstrip("0123456789")
    first = interface[len(name) :]
    return f"{name}{int(first or 0) + worker}" if worker else interface
