"""The page in headless Chromium, through a port that leads to the Unix socket as `ssh -L` does.

One browser for all tests. Set PAGE_SCREENSHOTS to a folder to have pictures of it.
"""

import base64
import importlib.util
import json
import os
import shutil
from contextlib import asynccontextmanager

import pytest
import trio

from poptrio.api import hookimpl, verify
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import CLIENT_ADDRESS

WHY_NOT = next(
    (
        f"needs {what}"
        for what, there in (
            ("chromium", shutil.which("chromium")),
            ("chromedriver (Debian: chromium-driver)", shutil.which("chromedriver")),
            ("selenium (pip install 'poptrio[browser]')", importlib.util.find_spec("selenium")),
        )
        if not there
    ),
    "",
)
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

QUICK_TO_FAIL = "[ppp]\nrestart_interval = 0.1\nmax_configure = 2\n"
TOKEN = "a token of the tests, long enough"
EVIL = "<img src=x onerror=alert(1)>"


class Gre:
    """A link that somebody may block, as a firewall does."""

    blocked = False

    def delays(self, packet, *, to_server):
        """At once, or never."""
        return () if self.blocked else (0.0,)


@pytest.fixture(scope="module")
def driver():
    """Headless Chromium that tells what it loads and what its console says."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options, service)
    yield browser
    browser.quit()


class Page:
    """The page in the browser, seen from Trio."""

    def __init__(self, driver, origin):
        self.driver = driver
        self.origin = origin

    async def command(self, command, **arguments):
        """One command of Chromium's DevTools protocol."""
        await trio.to_thread.run_sync(self.driver.execute_cdp_cmd, command, arguments)

    async def size(self, width, height=900, *, dark=False, phone=False):
        """Have a window of this size, in pixels."""
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = "dark" if dark else "light"
        await self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def load(self):
        """Open the page anew."""
        await trio.to_thread.run_sync(self.driver.get, self.origin + "/")

    async def js(self, script, *arguments):
        """What JavaScript says."""
        return await trio.to_thread.run_sync(self.driver.execute_script, script, *arguments)

    async def until(self, condition):
        """Wait until a JavaScript expression is true, and answer it."""
        with trio.move_on_after(10):
            while True:
                value = await self.js(f"return {condition}")
                if value:
                    return value
                await trio.sleep(0.05)
        raise AssertionError(f"not: {condition}; the page says {await self.js('return document.body.innerText')}")

    async def press(self, *keys):
        """Keys, as somebody without a mouse presses them."""
        from selenium.webdriver.common.action_chains import ActionChains

        await trio.to_thread.run_sync(ActionChains(self.driver).send_keys(*keys).perform)

    async def picture(self, name, *, whole=True):
        """Keep a picture, if somebody wants it."""
        folder = os.environ.get("PAGE_SCREENSHOTS")
        if folder:
            shot = await trio.to_thread.run_sync(
                self.driver.execute_cdp_cmd, "Page.captureScreenshot", {"captureBeyondViewport": whole}
            )
            await trio.Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    async def said(self):
        """What the console said, and which addresses were asked, since last asked for."""
        console = [line["message"] for line in await trio.to_thread.run_sync(self.driver.get_log, "browser")]
        asked = []
        for line in await trio.to_thread.run_sync(self.driver.get_log, "performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
        return console, asked


@pytest.fixture
def page(api, driver):
    """Opens a server and the page of it: ``async with page(...) as (page, server)``."""

    @asynccontextmanager
    async def opened(**settings):
        async with api(**settings) as server, trio.open_nursery() as nursery:

            async def lead(stream):
                async with stream:
                    try:
                        unix = await trio.open_unix_socket(str(server.socket))
                    except OSError:  # nobody is there: as SSH does, just close
                        return
                    async with unix, trio.open_nursery() as both:
                        both.start_soon(pump, stream, unix, both.cancel_scope)
                        both.start_soon(pump, unix, stream, both.cancel_scope)

            listeners = await nursery.start(trio.serve_tcp, lead, 0)
            port = listeners[0].socket.getsockname()[1]
            shown = Page(driver, f"http://localhost:{port}")
            await shown.said()
            await shown.size(1280)
            yield shown, server
            await trio.to_thread.run_sync(driver.get, "about:blank")
            nursery.cancel_scope.cancel()

    async def pump(source, sink, scope):
        try:
            async for some in source:
                await sink.send_all(some)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    return opened


async def scenery(server, calls):
    """Something to see in the pictures: half a minute of traffic, and two more clients."""
    paths = [call.path for call in server.memory.server.calls()]
    for tick in range(60):
        for weight, (call, path) in enumerate(zip(calls, paths, strict=True)):
            call.send_ip(bytes(150 * weight + 10 * tick))
            for _ in range(weight * (3 + tick // 7 % 3)):
                path.inject(ipv4_packet(call.server_address, call.address, bytes(1200)))
        if tick == 50:
            await server.memory.dial(username="frank", peer=CLIENT_ADDRESS + 9)
            await server.memory.dial(username="grace", password="wrong", peer=CLIENT_ADDRESS + 10)
        await trio.sleep(0.5)


async def heard(server):
    """Wait until somebody listens to events."""
    with trio.fail_after(5):
        while not server.memory.authority.journal.heard:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def test_a_call_that_comes_up_is_shown_and_kicked(page):
    async with page() as (shown, server):
        await shown.load()
        await shown.until("document.getElementById('calls-note').innerText === 'Nobody is on.'")
        await heard(server)
        call = await server.memory.dial()
        row = await shown.until("document.querySelector('#calls-body tr')?.innerText")
        assert all(text in row for text in ("alice", "up", str(CLIENT_ADDRESS), str(call.address)))
        await shown.until("document.querySelector('#events .call-up')?.innerText.includes('alice')")

        await shown.js("document.querySelector('#calls-body .link').click()")
        await shown.until("document.querySelectorAll('#details-steps rect').length === 4")
        steps = await shown.js("return document.getElementById('details-steps').innerText")
        assert [name in steps for name in ("lcp", "authentication", "encryption", "network")] == [True] * 4
        assert "MPPE-128" in await shown.js("return document.getElementById('details-facts').innerText")
        await shown.js("document.getElementById('details-kick').click()")
        assert not call.over.is_set(), "nothing happens without a confirmation"
        await shown.press("because")
        await shown.js("document.getElementById('kick-yes').click()")
        await shown.until("document.getElementById('said').innerText.includes('is being ended')")
        with trio.fail_after(2):
            await call.over.wait()
        await shown.until("document.querySelectorAll('#calls-body tr').length === 0")
        await shown.until("document.getElementById('details-note').innerText === 'This call has ended.'")
        await shown.until("document.querySelector('#events .call-down')?.innerText.includes('because')")

        console, asked = await shown.said()
        assert [line for line in console if "/v1/sessions/" not in line] == []  # 404: the call has ended
        assert {f"{shown.origin}/", f"{shown.origin}/page/page.js", f"{shown.origin}/v1/kick"} <= set(asked)
        assert [url for url in asked if not url.startswith(shown.origin + "/")] == []


async def test_a_blocked_gre_is_shown_with_what_to_do(page):
    gre = Gre()
    async with page(config=QUICK_TO_FAIL, link=gre) as (shown, server):
        gre.blocked = True
        await server.memory.dial()
        await shown.load()
        card = await shown.until("document.querySelector('#failures li .why')?.closest('li').innerText")
        for text in (
            "no-gre",
            "GRE",
            "What to do: let IP protocol 47 through",
            "Windows may show error 619, 721 or 806",
        ):
            assert text in card
        assert (await shown.said())[0] == []


async def test_all_of_it_is_done_with_the_keyboard(page):
    async with page() as (shown, server):
        call = await server.memory.dial()
        await shown.load()
        await shown.until("document.querySelector('#calls-body tr')")
        await shown.js("document.getElementById('search').focus()")
        reached = []
        for _ in range(14):
            await shown.press("\ue004")  # Tab
            reached.append(await shown.js("return document.activeElement.id || document.activeElement.innerText"))
            if reached[-1] == "Kick":
                break
        assert {"state", "order", "descending", "User", "Rate in", "alice", "Kick"} <= set(reached)
        await shown.press("\ue007")  # Enter
        await shown.until("document.getElementById('kick').open")
        await shown.press("\ue00c")  # Escape
        await shown.until("!document.getElementById('kick').open")
        assert await shown.js("return document.activeElement.innerText") == "Kick", "the focus is where it was"
        await shown.press("\ue007")
        await shown.until("document.activeElement.id === 'kick-reason'")
        await shown.press("lunch", "\ue007")
        with trio.fail_after(3):
            await call.over.wait()


class Everybody:
    """Knows all users, by one password."""

    @hookimpl
    async def poptrio_authenticate(self, request):
        return verify(request, "correct horse")


async def test_it_fits_a_phone_and_a_desk(page):
    gre = Gre()
    async with page(config=QUICK_TO_FAIL, plugins=[Everybody], link=gre) as (shown, server):
        calls = []
        for number, user in enumerate(
            ("anna", "ben", "chloe", "SALES\\dieter", "eduardo.garcia-hernandez@madrid.branch.example.org")
        ):
            call = await server.memory.dial(username=user, peer=CLIENT_ADDRESS + number)
            calls.append(call)
        await server.memory.dial(username="eve", password="wrong")
        gre.blocked = True
        await server.memory.dial(peer=CLIENT_ADDRESS + 7)
        gre.blocked = False
        await shown.size(375, 800, phone=True)
        await shown.load()
        await shown.until("document.querySelector('#calls-body tr') && document.querySelector('#failures .why')")
        wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
        assert max(await shown.js(wide)) <= 375
        small = await shown.js(
            "return [...document.querySelectorAll('button, input:not([type=checkbox]), select, .check')]"
            ".filter((one) => one.checkVisibility({visibilityProperty: true}))"
            ".map((one) => [one.innerText || one.id, one.getBoundingClientRect().height])"
            ".filter(([, size]) => size < 44)"
        )
        assert small == []
        await shown.js("document.querySelector('#calls-body .link').click()")
        await shown.until("document.querySelectorAll('#details-steps rect').length === 4")
        assert max(await shown.js(wide)) <= 375
        assert await shown.js(
            "const box = document.getElementById('details'); return box.scrollWidth <= box.clientWidth"
        )
        await shown.picture("phone-details", whole=False)
        await shown.js("document.getElementById('details').close()")
        await shown.size(1280)
        assert await shown.js("return document.documentElement.scrollWidth") <= 1280
        if "PAGE_SCREENSHOTS" in os.environ:
            await scenery(server, calls)
        for name, width, dark in (
            ("desk", 1280, False),
            ("desk-dark", 1280, True),
            ("phone", 375, False),
            ("phone-dark", 375, True),
        ):
            await shown.size(width, dark=dark, phone=width < 600)
            await shown.picture(name)
        await shown.size(1280)
        await shown.js("document.querySelector('#calls-body .link').click()")
        await shown.until("document.querySelectorAll('#details-steps rect').length === 4")
        await shown.picture("desk-details", whole=False)
        await shown.js("document.getElementById('details-kick').click()")
        await shown.picture("desk-kick", whole=False)
        assert (await shown.said())[0] == []


async def test_names_of_clients_are_text(page):
    async with page() as (shown, server):
        await server.memory.dial(username=EVIL, password="wrong")
        await shown.load()
        card = await shown.until("document.querySelector('#failures li .why')?.closest('li').innerText")
        assert EVIL in card
        assert await shown.js("return document.images.length") == 0
        assert (await shown.said())[0] == []


async def test_search_sort_and_most_rows(page, monkeypatch):
    async with page() as (shown, server):
        for number in range(3):
            await server.memory.dial(peer=CLIENT_ADDRESS + number)
        await shown.load()
        rows = "[...document.querySelectorAll('#calls-body tr')].map((row) => row.call.peer.split('.').pop()).join()"
        await shown.until(f"{rows} === '9,10,11'")
        await shown.js("document.querySelector('th[data-order=peer] button').click()")
        await shown.js("document.querySelector('th[data-order=peer] button').click()")
        await shown.until(f"{rows} === '11,10,9'")
        assert await shown.js("return document.querySelector('th[data-order=peer]').ariaSort") == "descending"
        await shown.js(
            "const field = document.getElementById('search'); field.value = '203.0.113.10';"
            "field.dispatchEvent(new Event('input'))"
        )
        await shown.until(f"{rows} === '10'")
        _, asked = await shown.said()
        lists = [url for url in asked if "/v1/sessions?" in url]
        assert lists
        assert all("limit=200" in url for url in lists)


async def test_it_says_when_the_server_is_away_and_comes_back(page):
    async with page() as (shown, server):
        await shown.load()
        await shown.until("document.querySelector('#tiles dd')")
        await shown.js("window.realFetch = fetch; fetch = () => Promise.reject(new TypeError('away')); ")
        await shown.until("!document.getElementById('away').hidden")
        assert "does not answer" in await shown.js("return document.getElementById('away').innerText")
        await shown.js("fetch = realFetch; document.getElementById('again').click()")
        await shown.until("document.getElementById('away').hidden")
        server.served.cancel()  # and now it is really away
        await shown.until("!document.getElementById('away').hidden")


async def test_it_asks_for_the_token_where_one_is_needed(driver, api, tls):
    async with api(management=tls) as server:
        shown = Page(driver, f"https://localhost:{server.port}")
        await shown.load()
        await shown.until("document.getElementById('token').open")
        await shown.press("a wrong one", "\ue007")
        await shown.until("document.getElementById('token-error').innerText === 'the token is wrong'")
        await shown.press(TOKEN, "\ue007")
        await shown.until("document.getElementById('calls-note').innerText === 'Nobody is on.'")
        assert await shown.js("return [localStorage.length, document.cookie, location.href]") == [
            0,
            "",
            shown.origin + "/",
        ]
        await heard(server)
        call = await server.memory.dial()
        await shown.until("document.querySelector('#events .call-up')")
        await shown.until("document.querySelector('#calls-body .danger')")
        await shown.js("document.querySelector('#calls-body .danger').click()")
        await shown.press("over TLS", "\ue007")
        with trio.fail_after(3):
            await call.over.wait()
        await trio.to_thread.run_sync(driver.get, "about:blank")
