"""What is inside the exception groups of Trio's nurseries, for whoever wants the one reason."""

from collections.abc import Iterator


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in ``error`` that are no groups, in order; ``error`` itself when it is none."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error
