"""Files that are read while calls are up: such as are there, never those that somebody has yet to write."""

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, at_most: int = -1) -> bytes:
    """The octets of a regular file, or the first ``at_most`` of them. Raises OSError, also for any other kind of file.

    Whoever reads from a pipe waits for its writer, and whoever reads from a device may never come to its end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(at_most)
    finally:
        os.close(descriptor)
