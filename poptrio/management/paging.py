"""What server and clients of the API have to agree on about its lists."""

LARGEST_PAGE = 1000
"""What one page of a list may have at most."""
