"""How the host loads plugins, and every fault that it finds in them."""

import sys
import textwrap

import pytest
from hook_plugins import CALL, REQUEST, Authenticator, authentication, faults_of

from poptrio.api import (
    ConfigError,
    Reject,
    hookimpl,
)
from poptrio.server.hooks import Hooks


def test_own_plugins_are_installed_like_foreign_ones():
    rows = Hooks.load(["chap-secrets"], ["ip-pool"]).table()
    assert [(row.name, row.distribution) for row in rows] == [("chap-secrets", "poptrio"), ("ip-pool", "poptrio")]
    assert rows[0].version
    asked = ("poptrio_lifespan", "poptrio_authenticate", "poptrio_reload")
    assert rows[0].hooks == (*asked, "poptrio_measurements", "poptrio_health")
    asked = ("poptrio_lifespan", "poptrio_allocate_address", "poptrio_keep_address", "poptrio_reload")
    assert rows[1].hooks == (*asked, "poptrio_health", "poptrio_pools")


def test_each_server_has_its_own_object_of_a_plugin_class():
    class Counting(Authenticator):
        made = 0

        def __init__(self):
            super().__init__()
            type(self).made += 1

    authentication(Counting)
    authentication(Counting)
    assert Counting.made == 2


def install(folder, monkeypatch, name, entry, code, distribution=None):
    """Put a distribution with one module and one entry point on the path."""
    distribution = distribution or name
    info = folder / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[poptrio]\n{name} = {entry}\n")
    module = entry.partition(":")[0]
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)


async def test_a_foreign_module_is_loaded_by_its_entry_point(tmp_path, monkeypatch):
    code = """
        from poptrio.api import Reject, hookimpl

        @hookimpl
        async def poptrio_authenticate():
            return Reject(reason="from far away")
    """
    install(tmp_path, monkeypatch, "far-away", "poptrio_far_away", code)
    hooks = Hooks.load(["far-away"])
    assert [(row.distribution, row.version) for row in hooks.table()] == [("far-away", "1.5")]
    answer = await hooks.authenticate(CALL, REQUEST)
    assert (answer.decision, answer.plugin) == (Reject(reason="from far away"), "far-away")


def test_a_plugin_that_is_not_installed_names_the_nearest_and_all():
    with pytest.raises(ConfigError) as caught:
        Hooks.load(["chap-secret"], ["nothing-like-it"])
    first, second = map(str, caught.value.faults)
    assert first.startswith('authentication.plugins: no plugin "chap-secret" is installed (installed are chap-secrets')
    assert first.endswith('; did you mean "chap-secrets"?')
    assert "chap-secrets, ip-pool" in first
    assert second.startswith('addresses.plugins: no plugin "nothing-like-it" is installed (installed are ')


def test_a_plugin_that_does_not_import_is_a_fault_with_its_exception(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "broken", "poptrio_broken", "import a_module_that_nobody_has")
    with pytest.raises(ConfigError, match="plugin broken: it cannot be loaded: ModuleNotFoundError: No module named"):
        Hooks.load(["broken"])


def test_a_plugin_class_that_raises_is_a_fault():
    class Broken:
        def __init__(self):
            raise RuntimeError("not today")

    assert faults_of(Broken) == ["plugin p0: it cannot be loaded: RuntimeError: not today"]


def test_two_distributions_with_one_plugin_name_are_a_fault(tmp_path, monkeypatch):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        install(folder, monkeypatch, "twin", f"poptrio_twin_{number}", "", distribution=f"twin-{number}")
    with pytest.raises(ConfigError, match='several distributions offer a plugin "twin": twin-1, twin-2'):
        Hooks.load(["twin"])


def test_a_misspelt_hook_names_the_nearest():
    class Misspelt(Authenticator):
        @hookimpl
        async def poptrio_authentcate(self): ...

    assert faults_of(Misspelt()) == [
        'plugin p0: poptrio_authentcate is no hook of poptrio; did you mean "poptrio_authenticate"?'
    ]


def test_a_hook_of_a_later_poptrio_may_be_marked_as_optional():
    class Modern(Authenticator):
        @hookimpl(optionalhook=True)
        async def poptrio_of_the_future(self): ...

    authentication(Modern())


def test_a_hook_under_another_name_is_found_by_its_specname():
    class Renamed:
        @hookimpl(specname="poptrio_authenticate")
        async def decide(self): ...

    assert authentication(Renamed()).table()[0].hooks == ("poptrio_authenticate",)


def test_a_forgotten_marker_is_a_fault():
    class Unmarked(Authenticator):
        def poptrio_admit(self, peer): ...

    assert faults_of(Unmarked()) == ["plugin p0: poptrio_admit lacks the @hookimpl marker and would never be called"]


def test_a_plugin_without_hooks_is_a_fault():
    assert faults_of(object()) == ["plugin p0: it implements no hook; mark its functions with @hookimpl"]


def test_wrong_arguments_are_faults():
    class Wrong:
        @hookimpl
        async def poptrio_authenticate(self, cal, request=None): ...

        @hookimpl
        def poptrio_reload(self, *, force): ...

        @hookimpl
        def poptrio_admit(self, *peer, **more): ...

    sentences = faults_of(Wrong())
    assert sentences[0] == (
        "plugin p0: the argument peer of poptrio_admit must be a plain one without default, or it is never passed"
    )
    assert sentences[1].startswith('plugin p0: poptrio_authenticate has no argument cal; did you mean "call"?')
    assert "the argument request of poptrio_authenticate must be a plain one without default" in sentences[2]
    assert sentences[3] == "plugin p0: poptrio_reload has no argument force; there are: config, server"


def test_async_where_it_must_not_be_and_not_where_it_must_are_faults():
    class Mixed:
        @hookimpl
        def poptrio_authenticate(self): ...

        @hookimpl
        async def poptrio_admit(self): ...

        @hookimpl
        async def poptrio_lifespan(self):
            yield

    assert faults_of(Mixed()) == [
        "plugin p0: poptrio_admit must not be an async function",
        "plugin p0: poptrio_authenticate must be an async function",
        "plugin p0: poptrio_lifespan must not be an async function; decorate it with @asynccontextmanager",
    ]


def test_options_that_change_the_order_are_faults():
    class First:
        @hookimpl(tryfirst=True)
        async def poptrio_authenticate(self): ...

    assert "the configuration sets the order" in faults_of(First())[0]


def test_a_list_of_which_no_plugin_has_the_hook_is_a_fault():
    with pytest.raises(ConfigError, match=r"authentication\.plugins: none of these plugins has the hook poptrio_auth"):
        Hooks.load(["ip-pool"], ["ip-pool"])
    with pytest.raises(ConfigError, match=r"addresses\.plugins: none of these plugins has the hook poptrio_allocate"):
        Hooks.load(["chap-secrets"], ["chap-secrets"])


def test_the_faults_of_all_plugins_come_together():
    assert len(faults_of(object(), object())) == 2
