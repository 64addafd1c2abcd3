"""Which plugin is asked next after which answer, and whose word counts when nobody lets the caller in."""

import pytest

from poptrio.api import Accept, Unavailable, hookimpl, verify
from poptrio.testing.server import memory_server


class Says:
    """Answers every caller the same: a decision, an exception, or by a password; remembers whether it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    @hookimpl
    async def poptrio_authenticate(self, request):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return verify(request, self.answer) if isinstance(self.answer, str) else self.answer


RIGHT, WRONG = "correct horse", "another"
NOT_MINE, SILENT, BROKEN = None, Unavailable("nobody answers"), ZeroDivisionError()


@pytest.mark.parametrize(
    ("fall_through", "answers", "asked", "cause"),
    [
        ('["not-mine"]', [NOT_MINE, RIGHT], [1, 1], None),
        ('["not-mine"]', [WRONG, RIGHT], [1, 0], "authentication-failed"),
        ('["not-mine"]', [SILENT, RIGHT], [1, 0], "authentication-unavailable"),
        ('["not-mine"]', [BROKEN, RIGHT], [1, 0], "authentication-unavailable"),
        ('["not-mine"]', [NOT_MINE, NOT_MINE], [1, 1], "authentication-failed"),
        ('["not-mine", "refused"]', [WRONG, RIGHT], [1, 1], None),
        ('["not-mine", "refused"]', [SILENT, RIGHT], [1, 0], "authentication-unavailable"),
        ('["not-mine", "unavailable"]', [SILENT, RIGHT], [1, 1], None),
        ('["not-mine", "unavailable"]', [BROKEN, RIGHT], [1, 1], None),
        ('["not-mine", "unavailable"]', [SILENT, NOT_MINE], [1, 1], "authentication-unavailable"),
        ('["not-mine", "unavailable"]', [SILENT, WRONG], [1, 1], "authentication-failed"),
        ('["not-mine", "refused", "unavailable"]', [WRONG, SILENT], [1, 1], "authentication-failed"),
        ("[]", [NOT_MINE, RIGHT], [1, 0], "authentication-failed"),
        ('["not-mine"]', [Unavailable("x", ask_next=True), RIGHT], [1, 1], None),
        (
            '["not-mine", "unavailable"]',
            [Unavailable("x", ask_next=False), RIGHT],
            [1, 0],
            "authentication-unavailable",
        ),
    ],
)
async def test_outcomes(fall_through, answers, asked, cause, log, autojump_clock):
    plugins = {f"p{number}": Says(answer) for number, answer in enumerate(answers)}
    config = f"[authentication]\nfall_through = {fall_through}"
    async with memory_server(config, plugins) as memory:
        call = await memory.dial()
        assert (call.address is not None) == (cause is None)
    assert [plugin.asked for plugin in plugins.values()] == asked
    if cause is not None:
        assert log.ends()[0]["cause"] == cause


async def test_an_accept_without_a_right_password_needs_a_plugin_that_says_so(log, autojump_clock):
    """MS-CHAPv2 needs a proof for the client: an Accept that has none lets nobody in."""
    async with memory_server("", {"careless": Says(Accept(user="anybody"))}) as memory:
        assert (await memory.dial()).address is None


@pytest.mark.parametrize(
    ("allowed", "name", "up"),
    [
        ('["HOME"]', "home\\alice", True),
        ('["HOME"]', "alice", False),
        ('["HOME", ""]', "alice", True),
        ('["HOME"]', "EVIL\\alice", False),
        ('["home.example"]', "alice@HOME.example", True),
    ],
)
async def test_allowed_domains(allowed, name, up, log, autojump_clock):
    plugin = Says(RIGHT)
    config = f"[authentication]\nallowed_domains = {allowed}\nstrip_realm = true"
    async with memory_server(config, {"p": plugin}) as memory:
        call = await memory.dial(name)
        assert (call.address is not None, plugin.asked) == (up, int(up))
    if not up:
        assert "allowed_domains" in log.ends()[0]["why"]


async def test_each_domain_to_its_own_plugins(log, autojump_clock):
    north, others = Says(RIGHT), Says(RIGHT)
    config = '[authentication.domains.NORTH]\nplugins = ["north"]\n[authentication.domains.OLD]\nrename = "north"\n'
    async with memory_server(config, {"others": others, "north": north}) as memory:
        for name, counts in (("alice", [1, 0]), ("north\\alice", [1, 1]), ("OLD\\alice", [1, 2]), ("X\\alice", [2, 2])):
            assert (await memory.dial(name)).address is not None
            assert [others.asked, north.asked] == counts
