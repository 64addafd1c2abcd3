"""The files of the page: complete, without anything from elsewhere, and served so that nothing else can run in it."""

import re
from pathlib import Path

import pytest

import poptrio.management
from poptrio.management.page_files import CONTENT_SECURITY_POLICY, PAGE_PATHS

FOLDER = Path(poptrio.management.__file__).parent / "page"
SCRIPTS = sorted(FOLDER.glob("*.js"))
HTML = (FOLDER / "index.html").read_text("utf-8")
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def test_every_file_has_a_path_and_no_other_is_open():
    names = {f"/page/{file.name}" for file in FOLDER.iterdir()} - {"/page/index.html"}
    assert names | {"/"} == PAGE_PATHS
    assert len(SCRIPTS) > 3


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
async def test_a_file_is_served_with_its_type_and_policy(api, path):
    async with api() as server:
        answer = await server.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == TYPES.get(Path(path).suffix, "text/html; charset=utf-8")
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.content == (FOLDER / (Path(path).name or "index.html")).read_bytes()


async def test_who_has_a_file_does_not_get_it_again(api):
    async with api() as server:
        tag = (await server.client.get("/page/page.js")).headers["etag"]
        for known in (tag, f'"other", {tag}', f"W/{tag}"):
            again = await server.client.get("/page/page.js", headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await server.client.get("/page/page.js", headers={"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "directive",
    ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"],
)
def test_the_policy_is_strict(directive):
    assert directive in CONTENT_SECURITY_POLICY.split("; ")
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_the_html_has_no_script_or_style_of_its_own():
    assert re.findall(r"<script(?![^>]* src=)", HTML) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", HTML) == []


@pytest.mark.parametrize("file", [FOLDER / "index.html", FOLDER / "page.css", *SCRIPTS], ids=lambda file: file.name)
def test_nothing_comes_from_elsewhere(file):
    text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?:|//\w+\.|@import|url\(", text) == []


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_no_script_makes_markup_or_code_of_text(file):
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write"
    code = r"\beval\(|new Function|setTimeout\([\"'`]"
    assert re.findall(f"{markup}|{code}|localStorage|cookie", file.read_text("utf-8")) == []


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_every_id_is_there(file):
    for name in re.findall(r"\$\(\"([\w-]+)\"\)", file.read_text("utf-8")):
        assert f'id="{name}"' in HTML, name
