"""Discover plugins, attribute what they bring, and keep one's failure from costing another.

Shipped plugins enter by the same door as a stranger's and come first; the rest follow by entry-point name. A name
has one owner: the shipped plugins own theirs, and of two strangers that claim one name neither gets it.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from adapterhub_fin.errors import PluginError, PolicyViolation, UnknownName
from adapterhub_fin.plugin import hooks
from adapterhub_fin.plugin.descriptions import (
    Base,
    Corpus,
    Description,
    Head,
    Merger,
    Method,
    Metric,
    OwnHook,
    StoreKind,
)
from adapterhub_fin.plugin.veto import may_hold_veto

if TYPE_CHECKING:
    from pydantic import BaseModel

GROUP = hooks.PROJECT
SHIPPED = "shipped"
DISTRIBUTION = "adapterhub-fin"
PROCESS = "this process"
CONTRIBUTIONS: dict[str, type[Description]] = {
    "ahf_methods": Method,
    "ahf_heads": Head,
    "ahf_corpora": Corpus,
    "ahf_mergers": Merger,
    "ahf_stores": StoreKind,
    "ahf_metrics": Metric,
    "ahf_bases": Base,
}
D = TypeVar("D", bound=Description)
log = logging.getLogger(__name__)


@dataclass
class Plugin:
    """Hold one plugin: where it comes from, what it gives, and what went wrong."""

    name: str
    distribution: str
    version: str | None = None
    entry: EntryPoint | None = None
    module: object | None = None
    error: str | None = None
    gives: list[Description] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # a sentence for each description that was refused

    @property
    def shipped(self) -> bool:
        return self.distribution == DISTRIBUTION and self.name == SHIPPED

    @property
    def label(self) -> str:
        """Name, distribution and version, for a message."""
        return f"{self.name} ({self.distribution}{' ' + self.version if self.version else ''})"


class Extensions:
    """Hold everything that the installed plugins bring; complete before anyone sees it."""

    def __init__(self, plugins: Sequence[Plugin], disabled: Sequence[str]) -> None:
        self.plugins = plugins
        self.disabled = disabled
        self._hooks = pluggy.PluginManager(hooks.PROJECT)
        self._hooks.add_hookspecs(hooks)
        self.kinds = dict(CONTRIBUTIONS)  # of descriptions, by the hook that returns them
        for plugin in plugins:  # all hooks are specified before any plugin that implements one is admitted
            if plugin.error is None:
                self._specify(plugin)
        for plugin in plugins:
            if plugin.error is None:
                self._admit(plugin)
        self._owned = self._owners()

    def _specify(self, plugin: Plugin) -> None:
        """Add the hooks that one plugin specifies; what fails costs this plugin only."""
        try:
            module: Any = plugin.module
            if self._hooks.parse_hookimpl_opts(module, "ahf_hookspecs") is None:
                return
            kinds = dict(self.kinds)
            specifications = ModuleType("specifications")
            for own in module.ahf_hookspecs():
                _check_own(own, kinds)
                kinds[own.name] = own.kind
                setattr(specifications, own.name, hooks.hookspec(_contributing(own)))
            self._hooks.add_hookspecs(specifications)
            self.kinds = kinds  # of a plugin that fails none of the hooks is there
        except (Exception, SystemExit) as error:
            plugin.error = _reason(error)

    def _admit(self, plugin: Plugin) -> None:
        """Register one plugin's hooks and collect its descriptions; what fails costs this plugin only."""
        name = f"{plugin.distribution}:{plugin.name}"
        try:
            self._hooks.register(plugin.module, name=name)
            self._hooks.check_pending()
            for hook, kind in self.kinds.items():
                for implementation in self._implementations(hook, plugin):
                    contributed: Any = implementation.function()
                    plugin.gives += [_checked(item, kind, hook) for item in contributed]
        except (Exception, SystemExit) as error:
            plugin.error = _reason(error)
            plugin.gives = []
            if self._hooks.get_plugin(name) is not None:
                self._hooks.unregister(name=name)

    def _implementations(self, hook: str, plugin: Plugin) -> Iterator[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._hooks.hook, hook)
        return (implementation for implementation in caller.get_hookimpls() if implementation.plugin is plugin.module)

    def _owners(self) -> dict[tuple[type[Description], str], tuple[Description, Plugin]]:
        claims: dict[tuple[type[Description], str], list[tuple[Description, Plugin]]] = defaultdict(list)
        for plugin in self.plugins:
            for description in plugin.gives:
                claims[self._kind(description), description.name].append((description, plugin))
        owned = {}
        for key, claimants in claims.items():
            shipped = [claim for claim in claimants if claim[1].shipped]
            winners = shipped[:1] or (claimants if len(claimants) == 1 else [])
            for claim in claimants:
                if claim in winners:
                    owned[key] = claim
                    continue
                others = sorted({other.label for _, other in claimants if other is not claim[1]}) or [claim[1].label]
                cure = "rename it" if shipped else "disable one with AHF_DISABLE_PLUGINS"
                claim[1].lost.append(f"{key[0].kind} {key[1]!r} is claimed by {' and '.join(others)} too: {cure}")
                claim[1].gives.remove(claim[0])
        return owned

    def all(self, kind: type[D]) -> Mapping[str, D]:
        """Return every description of a kind, by name, sorted."""
        descriptions = {name: description for (k, name), (description, _) in self._owned.items() if k is kind}
        return dict(sorted(descriptions.items()))  # type: ignore[arg-type]

    def get(self, kind: type[D], name: str) -> D:
        """Return the description of that name; UnknownName lists the near ones, and plugins that are broken."""
        if (kind, name) in self._owned:
            return self._owned[kind, name][0]  # type: ignore[return-value]
        lost = [sentence for plugin in self.plugins for sentence in plugin.lost if f"{kind.kind} {name!r} " in sentence]
        broken = [f"plugin {plugin.label} is broken: {plugin.error}" for plugin in self.plugins if plugin.error]
        raise UnknownName(kind.kind, name, self.all(kind), "; ".join(lost + broken))

    def owner(self, description: Description) -> Plugin:
        """Return the plugin that brought a description."""
        return self._owned[self._kind(description), description.name][1]

    def hook_of(self, description: Description) -> str:
        """Return the name of the hook that returns descriptions of this kind.

        Raises PluginError where no installed plugin specifies one.
        """
        hook = next((name for name, kind in self.kinds.items() if kind is type(description)), None)
        hook = hook or next((name for name, kind in self.kinds.items() if isinstance(description, kind)), None)
        if hook is None:
            raise PluginError(f"no hook takes {description.kind} {description.name!r}: install the plugin that has it")
        return hook

    def _kind(self, description: Description) -> type[Description]:
        return self.kinds[self.hook_of(description)]

    def options(self, kind: type[Description], name: str, given: Mapping[str, Any]) -> BaseModel:
        """Check a plugin's options without importing it; raises UnknownName or BadRecipe with near names."""
        from adapterhub_fin.plugin.options import checked  # pydantic, which a name alone doesn't need

        return checked(self.get(kind, name).load_options(), given, f"{kind.kind} {name}", kind.reserved_keys)

    def targets(self, model_type: str, method: str) -> tuple[str, ...] | None:
        """Return the first plugin's advice on which layers to adapt; a plugin that raises is marked and passed over."""
        for plugin in self.plugins:
            for implementation in self._implementations("ahf_targets", plugin):
                try:
                    advice = _call(implementation, model_type=model_type, method=method)
                    if advice is not None:
                        return tuple(str(layer) for layer in advice)
                except (Exception, SystemExit) as error:
                    plugin.lost.append(f"ahf_targets({model_type!r}, {method!r}) raised {_reason(error)}")
                    log.warning("plugin %s: %s", plugin.label, plugin.lost[-1])
        return None

    def vetoes(self) -> list[Any]:
        """Return the checks that every add must run: each ahf_before_add, and one for each veto that can't load.

        They are the same objects each time, so that a registry runs none of them twice.
        """
        return list(self._vetoes)

    @cached_property
    def _vetoes(self) -> list[Any]:
        checks: list[Any] = []
        for plugin in self.plugins:
            if plugin.error is not None:
                if may_hold_veto(plugin.entry, plugin.module):
                    checks.append(partial(_refuse, plugin))
                continue
            for implementation in self._implementations("ahf_before_add", plugin):
                checks.append(partial(_ask, plugin, implementation))
        return checks


def _check_own(hook: OwnHook, kinds: Mapping[str, type[Description]]) -> None:
    if not isinstance(hook, OwnHook):
        raise PluginError(f"ahf_hookspecs must return OwnHook descriptions, not {hook!r}")
    if hasattr(hooks, hook.name) or hook.name in kinds:
        raise PluginError(f"the hook {hook.name} is specified already: choose another name")
    if any(hook.kind.kind == kind.kind for kind in kinds.values()):
        raise PluginError(f"the hook {hook.name}: the kind {hook.kind.kind!r} is taken: choose another")


def _contributing(hook: OwnHook) -> Callable[[], Iterable[Description]]:
    """Return the specification of a hook that takes nothing and returns descriptions."""

    def specification() -> Iterable[Description]:  # type: ignore[empty-body]
        ...

    specification.__name__, specification.__doc__ = hook.name, hook.summary
    return specification


def _checked(item: object, kind: type[Description], hook: str) -> Description:
    if not isinstance(item, kind):
        raise PluginError(f"{hook} must return {kind.__name__} descriptions, not {item!r}")
    return item


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _call(implementation: pluggy.HookImpl, **arguments: Any) -> Any:
    """Call one implementation as pluggy would: it may take fewer arguments than the specification has."""
    return implementation.function(**{name: arguments[name] for name in implementation.argnames})


def _refuse(plugin: Plugin, manifest: Any, folder: Path) -> None:
    raise PolicyViolation(
        f"plugin {plugin.label} may veto an add and can't be loaded ({plugin.error}): mend it, uninstall "
        f"{plugin.distribution}, or set AHF_DISABLE_PLUGINS={plugin.name}"
    )


def _ask(plugin: Plugin, implementation: pluggy.HookImpl, manifest: Any, folder: Path) -> None:
    try:
        answer = _call(implementation, manifest=manifest, folder=folder)
    except (Exception, SystemExit) as error:  # a veto fails closed, whatever it raises
        raise PolicyViolation(f"plugin {plugin.label} refused: {_reason(error)}") from error
    if answer is None:
        return
    if inspect.iscoroutine(answer):
        answer.close()  # or Python warns that nobody awaited it
    raise PolicyViolation(  # a coroutine or a generator has not run at all, and False may mean a no
        f"plugin {plugin.label} gave {type(answer).__name__} from ahf_before_add, which must be a plain function that "
        f"raises to refuse and returns None to allow: mend it, or set AHF_DISABLE_PLUGINS={plugin.name}"
    )


def _disabled() -> list[str]:
    return sorted(filter(None, (name.strip() for name in os.environ.get("AHF_DISABLE_PLUGINS", "").split(","))))


def _installed(disabled: Iterable[str]) -> Iterator[Plugin]:
    """Yield every installed plugin, the shipped one first, then by entry-point name; imported, or with its error."""
    entries = entry_points(group=GROUP)
    order = sorted(
        entries, key=lambda e: (not (e.name == SHIPPED and _distribution(e) == DISTRIBUTION), e.name, e.value)
    )
    for entry in order:
        if entry.name in disabled:
            continue
        version = entry.dist.version if entry.dist else None
        plugin = Plugin(entry.name, _distribution(entry), version, entry=entry)
        try:
            plugin.module = entry.load()
        except (Exception, SystemExit) as error:
            plugin.error = _reason(error)
        yield plugin


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown distribution"


_lock = Lock()


def _renew_lock() -> None:
    """Free the lock in the child of a fork: who held it does not exist there, and what it guards is set at once."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

_registered: list[Plugin] = []
_current: tuple[list[str], Extensions] | None = None


def extensions() -> Extensions:
    """Return this process's plugins, discovered once, and again when AHF_DISABLE_PLUGINS or `register` change them."""
    global _current
    disabled = _disabled()
    with _lock:
        if _current is None or _current[0] != disabled:
            here = [Plugin(p.name, p.distribution, module=p.module) for p in _registered]
            _current = (disabled, Extensions([*_installed(disabled), *here], disabled))
        return _current[1]


def register(thing: Description | object) -> None:
    """Add a description, or an object with hook implementations, to this process alone.

    Raises PluginError where it is broken or claims a name that has an owner.
    """
    global _current
    module = _Single(thing) if isinstance(thing, Description) else thing
    name = thing.name if isinstance(thing, Description) else getattr(thing, "__name__", type(thing).__name__)
    plugin = Plugin(name, PROCESS, module=module)
    with _lock:
        _registered.append(plugin)
        _current = None
    mine = next(p for p in extensions().plugins if p.module is module)
    if mine.error or mine.lost:
        with _lock:
            _registered.remove(plugin)
            _current = None
        raise PluginError(f"{name!r} can't be registered: {mine.error or '; '.join(mine.lost)}")


class _Single:
    """Register a plugin of one description."""

    def __init__(self, description: Description) -> None:
        hook = extensions().hook_of(description)
        setattr(self, hook, hooks.hookimpl(specname=hook)(lambda: [description]))
