"""The page: its files as they are in the package, and how they are served. What it shows it asks of the API itself."""

from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The page has nothing from elsewhere and no script in its text: a name that a client chose can never become one."""

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class PageFile:
    """One file, in memory; who has it already is told so by its ETag."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._media_type = media_type
        self._headers = {
            "cache-control": "no-cache",  # may be kept, and is asked about each time
            "etag": f'"{sha256(content).hexdigest()[:32]}"',
            "content-security-policy": CONTENT_SECURITY_POLICY,
        }

    async def answer(self, request: Request) -> Response:
        """The file, or that it has not changed."""
        known = request.headers.get("if-none-match", "")
        if self._headers["etag"] in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, media_type=self._media_type, headers=self._headers)


def _page_files() -> dict[str, PageFile]:
    found = {}
    for file in files("poptrio.management").joinpath("page").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in MEDIA_TYPES:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            found[path] = PageFile(file.read_bytes(), MEDIA_TYPES[suffix])
    return found


_FILES = _page_files()

PAGE_PATHS = frozenset(_FILES)
"""The paths of its files."""


def page_routes() -> list[Route]:
    """The routes to them."""
    return [Route(path, file.answer, methods=["GET"]) for path, file in _FILES.items()]
