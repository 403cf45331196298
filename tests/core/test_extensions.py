"""Plugins are isolated, attributed and owned; each case is a real installed distribution in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf

METHOD = "Method(name={name!r}, summary='A.', target='nowhere:At')"
GOOD = f"""
from adapterhub_fin import Method, hookimpl

@hookimpl
def ahf_methods():
    return [{METHOD}]
"""


class Site:
    """A folder on the path, to install small distributions into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, code: str | None, *, entry: str | None = None) -> None:
        if code is not None:
            (self.folder / f"{name}.py").write_text(code)
        info = self.folder / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[adapterhub_fin]\n{entry or name} = {name}\n")

    def run(self, code: str, **env: str) -> Any:
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-c", f"import json\nfrom adapterhub_fin.plugin.manager import *\n{code}"],
            env={**os.environ, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def plugins(self, **env: str) -> dict[str, Any]:
        what = "[p.version, p.error, [g.name for g in p.gives], p.lost]"
        code = f"print(json.dumps({{p.name: {what} for p in extensions().plugins}}))"
        found: dict[str, Any] = self.run(code, **env)
        return found

    def veto(self, **env: str) -> str | None:
        """What the checks of an add say, if they stop it."""
        code = """
from adapterhub_fin import Refused
said = None
try:
    for check in extensions().vetoes():
        check(None, None)
except Refused as error:
    said = str(error)
print(json.dumps(said))
"""
        said: str | None = self.run(code, **env)
        return said


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    return Site(folder)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('broken on purpose')", "RuntimeError: broken on purpose"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("from adapterhub_fin import hookimpl\n@hookimpl\ndef ahf_nothing(): return []", "ahf_nothing"),
        ("from adapterhub_fin import hookimpl\n@hookimpl\ndef ahf_methods(wrong): return []", "wrong"),
        ("from adapterhub_fin import hookimpl\n@hookimpl\ndef ahf_methods(): return ['lora']", "must return Method"),
        ("from adapterhub_fin import hookimpl\n@hookimpl\ndef ahf_methods(): return 1/0", "ZeroDivisionError"),
        (GOOD.format(name="Not A Name"), "lower-case words"),
        (GOOD.format(name="x").replace("nowhere:At", "nowhere.At"), "package.module:attribute"),
    ],
)
def test_a_broken_plugin_costs_that_plugin_only(site: Site, code: str, reason: str) -> None:
    site.install("broken", code)
    site.install("sound", GOOD.format(name="sound-method"))
    plugins = site.plugins()
    version, error, gives, _ = plugins["broken"]
    assert version == "1.2" and reason in error and gives == []
    assert plugins["sound"][1] is None and plugins["sound"][2] == ["sound-method"]
    assert "lora" in plugins["shipped"][2]
    assert site.veto() is None


BREAKS = """
@hookimpl
def ahf_targets(model_type): return ["mixer"]

@hookimpl
def {hook}():
    {body}
"""


@pytest.mark.parametrize("hook", ["ahf_heads", "ahf_mergers", "ahf_metrics"])
@pytest.mark.parametrize(
    "body", ["return 1/0", "return ['lora']", "yield Method(name='one', summary='A.')", "import x"]
)
def test_a_plugin_whose_second_hook_breaks_gives_nothing(site: Site, hook: str, body: str) -> None:
    """G 39: neither what an earlier hook gave nor an answer of another."""
    site.install("broken", GOOD.format(name="given-before") + BREAKS.format(hook=hook, body=body))
    site.install("sound", GOOD.format(name="sound-method"))
    plugins = site.plugins()
    assert plugins["broken"][1] and plugins["broken"][2] == [] and plugins["broken"][3] == []
    assert plugins["sound"][1] is None and plugins["sound"][2] == ["sound-method"]
    names = site.run("print(json.dumps([sorted(extensions().all(Method)), extensions().targets('mamba9', 'lora')]))")
    assert "given-before" not in names[0] and "sound-method" in names[0] and names[1] is None


@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        ("ahf_methods", "Method"),
        ("ahf_heads", "Head"),
        ("ahf_corpora", "Corpus"),
        ("ahf_mergers", "Merger"),
        ("ahf_stores", "StoreKind"),
        ("ahf_metrics", "Metric"),
    ],
)
def test_each_contributing_hook_brings_its_kind_and_is_attributed(site: Site, hook: str, kind: str) -> None:
    made = f"{kind}(name='theirs', summary='A.', target='nowhere:At')"
    site.install(
        "them", f"from adapterhub_fin import {kind}, hookimpl\n@hookimpl\ndef {hook}():\n    return [{made}]\n"
    )
    code = f"import adapterhub_fin as ahf; d = extensions().get(ahf.{kind}, 'theirs')"
    assert site.run(f"{code}; print(json.dumps([d.kind, extensions().owner(d).label]))")[1] == "them (them 1.2)"


def test_shipped_come_first_then_entry_points_by_name(site: Site) -> None:
    for name in ("zeta", "alpha"):
        site.install(name, GOOD.format(name=f"{name}-method"))
    assert list(site.plugins()) == ["shipped", "alpha", "markets", "zeta"]


def test_a_shipped_name_stays_shipped_and_costs_the_stranger_that_description_only(site: Site) -> None:
    both = GOOD.replace(f"[{METHOD}]", "[" + METHOD.format(name="lora") + ", " + METHOD.format(name="mine") + "]")
    site.install("stranger", both)
    _, error, gives, lost = site.plugins()["stranger"]
    assert error is None and gives == ["mine"]
    assert len(lost) == 1 and "'lora'" in lost[0] and "adapterhub-fin" in lost[0]
    owner = "print(json.dumps(extensions().owner(extensions().get(Method, 'lora')).distribution))"
    assert site.run(owner) == "adapterhub-fin"


def test_of_two_strangers_with_one_name_neither_gets_it_until_one_is_disabled(site: Site) -> None:
    for name in ("one", "two"):
        site.install(name, GOOD.format(name="same"))
    plugins = site.plugins()
    assert plugins["one"][2] == [] == plugins["two"][2]
    assert "two (two 1.2)" in plugins["one"][3][0] and "one (one 1.2)" in plugins["two"][3][0]
    alone = site.plugins(AHF_DISABLE_PLUGINS="two")
    assert alone["one"][2] == ["same"] and "two" not in alone


def test_an_unknown_name_tells_of_the_clash(site: Site) -> None:
    for name in ("one", "two"):
        site.install(name, GOOD.format(name="same"))
    code = """
from adapterhub_fin import UnknownName
try:
    extensions().get(Method, "same")
except UnknownName as error:
    print(json.dumps(str(error)))
"""
    assert "is claimed by" in site.run(code)


VETO = """
from adapterhub_fin import hookimpl, Refused

@hookimpl
def ahf_before_add(manifest):
    raise {error}
"""


def test_a_veto_speaks_in_its_plugin_s_name(site: Site) -> None:
    site.install("house", VETO.format(error="Refused('no license, no shelf')"))
    said = site.veto()
    assert said is not None and "house (house 1.2)" in said and "no license, no shelf" in said


@pytest.mark.parametrize("error", ["ValueError('a slip')", "SystemExit(0)", "KeyError('k')"])
def test_a_veto_that_raises_anything_stops_the_add(site: Site, error: str) -> None:
    site.install("house", VETO.format(error=error))
    assert "house (house 1.2)" in (site.veto() or "")


def test_a_veto_that_cannot_load_stops_the_add_and_says_how_to_go_on(site: Site) -> None:
    site.install("house", "import nowhere_to_be_found\n" + VETO.format(error="Refused('never reached')"))
    said = site.veto()
    assert said is not None and "nowhere_to_be_found" in said and "AHF_DISABLE_PLUGINS=house" in said
    assert site.veto(AHF_DISABLE_PLUGINS="house") is None


def test_an_entry_point_to_nothing_may_have_been_a_veto(site: Site) -> None:
    site.install("gone", None)
    assert "gone (gone 1.2)" in (site.veto() or "")


def test_targets_come_from_the_first_plugin_that_answers(site: Site) -> None:
    hook = "from adapterhub_fin import hookimpl\n@hookimpl\ndef ahf_targets(model_type):\n    {body}\n"
    site.install("a", hook.format(body="return None"))
    site.install("b", hook.format(body="raise KeyError(model_type)"))
    site.install("c", hook.format(body="return ['mixer'] if model_type == 'mamba9' else None"))
    assert site.run("print(json.dumps(extensions().targets('mamba9', 'lora')))") == ["mixer"]
    lost = "[p.lost for p in extensions().plugins if p.name == 'b'][0]"
    assert "KeyError" in site.run(f"extensions().targets('mamba9', 'lora'); print(json.dumps({lost}))")[0]


def test_register_serves_this_process_and_refuses_an_owned_name() -> None:
    from adapterhub_fin.plugin.manager import extensions

    ahf.register(ahf.Corpus(name="in-process", summary="Here.", target="nowhere:At"))
    assert extensions().get(ahf.Corpus, "in-process").summary == "Here."
    with pytest.raises(ahf.PluginError, match="'lora' is claimed by shipped"):
        ahf.register(ahf.Method(name="lora", summary="Mine.", target="nowhere:At"))
    assert extensions().owner(extensions().get(ahf.Method, "lora")).shipped


def test_register_takes_an_object_with_hooks() -> None:
    from adapterhub_fin.plugin.manager import extensions

    class Desk:
        @ahf.hookimpl
        def ahf_stores(self) -> list[ahf.StoreKind]:
            return [ahf.StoreKind(name="desk", summary="Ours.", target="nowhere:At")]

        @ahf.hookimpl
        def ahf_mergers(self) -> list[ahf.Merger]:
            return [ahf.Merger(name="desk-mean", summary="Ours.", target="nowhere:At")]

    ahf.register(Desk())
    assert extensions().get(ahf.StoreKind, "desk").summary == "Ours."
    assert "desk-mean" in extensions().all(ahf.Merger)


def test_a_target_that_does_not_load_says_what_it_needs() -> None:
    lonely = ahf.Method(name="lonely", summary="A.", target="nowhere:At", requires=("nowhere>=2",))
    with pytest.raises(ahf.PluginError, match="needs nowhere>=2"):
        lonely.load()


OWNER = """
from dataclasses import dataclass
from adapterhub_fin.plugin import Description, OwnHook, hookimpl

@dataclass(frozen=True, kw_only=True)
class CostModel(Description):
    kind = "cost-model"
    basis_points: int = 10

@hookimpl
def ahf_hookspecs():
    return [OwnHook(name="acme_costs", kind=CostModel, summary="Return cost models.")]

@hookimpl
def acme_costs():
    return [CostModel(name="flat", summary="A.", target="nowhere:At")]
"""
IMPLEMENTER = """
from adapterhub_fin.plugin import hookimpl

@hookimpl{optional}
def acme_costs():
    from {owner} import CostModel
    return [CostModel(name={name!r}, summary="B.", target="nowhere:At")]
"""
READ = """
import zowner
from adapterhub_fin.plugin import contributions
print(json.dumps(list(contributions(zowner.CostModel))))
"""


def test_a_plugin_s_own_hooks_are_implemented_by_others(site: Site) -> None:
    """Specify hooks before any plugin is admitted: the owner comes last by name."""
    site.install("zowner", OWNER)
    site.install("beta", IMPLEMENTER.format(optional="", owner="zowner", name="tiered"))
    site.install("gamma", IMPLEMENTER.format(optional="", owner="zowner", name="flat"))
    plugins = site.plugins()
    assert [plugins[name][1] for name in ("zowner", "beta", "gamma")] == [None] * 3
    assert plugins["zowner"][2] == [] and plugins["gamma"][2] == [], "of two strangers neither owns a name"
    assert "cost-model 'flat' is claimed by gamma" in plugins["zowner"][3][0]
    assert site.run(READ) == ["tiered"]


@pytest.mark.parametrize(("optional", "error"), [("(optionalhook=True)", None), ("", "unknown hook 'acme_costs'")])
def test_a_hook_whose_owner_is_not_there_costs_only_who_needs_it(site: Site, optional: str, error: str | None) -> None:
    site.install("beta", IMPLEMENTER.format(optional=optional, owner="zowner", name="tiered"))
    site.install("sound", GOOD.format(name="sound-method"))
    plugins = site.plugins()
    assert plugins["beta"][1] is None if error is None else error in plugins["beta"][1]
    assert plugins["sound"][2] == ["sound-method"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name="acme_costs", kind', 'name="ahf_heads", kind', "the hook ahf_heads is specified already"),
        ('name="acme_costs", kind', 'name="ahf_before_add", kind', "the hook ahf_before_add is specified already"),
        ('name="acme_costs", kind', 'name="Costs", kind', "must be lower-case words"),
        ('kind = "cost-model"', 'kind = "method"', "the kind 'method' is taken"),
        ('kind = "cost-model"', "pass", "needs a class attribute kind"),
        ("kind=CostModel", "kind=int", "kind must be a subclass of Description"),
        ('summary="Return cost models.")]', 'summary="Return cost models."), "second"]', "must return OwnHook"),
        ("return [OwnHook", "return 1/0; [OwnHook", "ZeroDivisionError"),
        ("return [OwnHook", "return ['acme_costs']; [OwnHook", "must return OwnHook"),
        ("return [CostModel(", "return ['flat']; [CostModel(", "acme_costs must return CostModel"),
    ],
)
def test_a_broken_hook_of_one_s_own_costs_its_plugin_only(site: Site, old: str, new: str, reason: str) -> None:
    assert old in OWNER
    site.install("zowner", OWNER.replace(old, new))
    site.install("sound", GOOD.format(name="sound-method"))
    plugins = site.plugins()
    assert reason in plugins["zowner"][1] and plugins["zowner"][2] == []
    assert plugins["sound"][2] == ["sound-method"] and "lora" in plugins["shipped"][2]


def test_a_description_of_one_s_own_kind_is_registered_in_a_process(site: Site) -> None:
    site.install("zowner", OWNER)
    given = "name='mine', summary='C.', target='no:At'"
    code = f"import zowner, adapterhub_fin as ahf\nahf.register(zowner.CostModel({given}))"
    assert site.run(f"{code}\n{READ}") == ["flat", "mine"]
