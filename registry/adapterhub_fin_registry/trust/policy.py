"""Apply a client's policy: what it requires of a version before it stores or loads it.

The rules are in the client's configuration. A registry may have rules of its own, in `policy.toml` at its root. A
version must satisfy both, so that a registry's file can only tighten the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.errors import BadConfiguration, BadKey, PolicyViolation
from adapterhub_fin_registry.trust.signatures import signers
from adapterhub_fin_registry.trust.strict_toml import Table, read_toml

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.trust.keys import PublicKey
    from adapterhub_fin_registry.trust.signatures import Signature

FILE: Final = "policy.toml"
KEYS: Final = ("require_signature", "keys", "allowed_licenses", "allowed_bases", "forbid_remote_code", "max_size")


@dataclass(frozen=True)
class Rules:
    """Hold the rules of one file; what the file doesn't mention is allowed. `max_size` is in bytes."""

    source: Path
    require_signature: bool = False
    keys: tuple[tuple[str, str], ...] = ()
    allowed_licenses: tuple[str, ...] | None = None
    allowed_bases: tuple[str, ...] | None = None
    forbid_remote_code: bool = False
    max_size: int | None = None

    @classmethod
    def read(cls, table: Table, *, paths: bool) -> Rules:
        """Read the rules of a table; keys may be paths of files only if `paths` is true.

        Raises BadConfiguration if a value isn't valid.
        """
        table.check_known(KEYS)
        rules = cls(
            table.source,
            require_signature=table.boolean("require_signature"),
            keys=tuple(sorted(table.texts_by_name("keys").items())),
            allowed_licenses=table.texts("allowed_licenses"),
            allowed_bases=table.texts("allowed_bases"),
            forbid_remote_code=table.boolean("forbid_remote_code"),
            max_size=table.size("max_size"),
        )
        if not paths and any("-----BEGIN" not in text for _, text in rules.keys):
            raise BadConfiguration(
                f"the keys in {table.source} must be PEM: a registry may not name files of a machine"
            )
        return rules

    def public_keys(self) -> list[PublicKey]:
        """Return the keys that the rules trust, by their names.

        Raises BadConfiguration if one can't be used.
        """
        from adapterhub_fin_registry.trust.keys import PublicKey

        keys = []
        for name, text in self.keys:
            try:
                if "-----BEGIN" in text:
                    keys.append(PublicKey.parse(text.encode(), name))
                else:  # a path is relative to the file that names it
                    keys.append(PublicKey.read(self.source.parent / Path(text).expanduser(), name))
            except BadKey as error:
                raise BadConfiguration(f"the key {name} in {self.source} can't be used: {error}") from error
        return keys


@dataclass(frozen=True)
class Policy:
    """Hold the rules that a client applies to one registry: its own and the registry's."""

    client: Rules
    registry: Rules | None = None

    @classmethod
    def of(cls, client: Rules, root: Path) -> Policy:
        """Return the policy of the client's rules and those at a registry's root.

        Raises BadConfiguration if the registry's rules can't be used.
        """
        table = read_toml(root / FILE)
        return cls(client, None if table is None else Rules.read(table, paths=False))

    def public_keys(self) -> list[PublicKey]:
        """Return the keys that the client trusts.

        Raises BadConfiguration if one can't be used.
        """
        return self.client.public_keys()

    @property
    def requires_signature(self) -> bool:
        """Return whether any rule requires a signature."""
        return self.client.require_signature or bool(self.registry and self.registry.require_signature)

    def check(self, subject: str, manifest: Manifest, signatures: Iterable[Signature]) -> None:
        """Raise PolicyViolation, with the first rule that a version breaks, if it breaks one."""
        for violation in self.violations(subject, manifest, signatures):
            raise PolicyViolation(violation)

    def check_remote_code(self, subject: str) -> None:
        """Raise PolicyViolation where a rule forbids bases that bring code of their own, before any of it runs."""
        for rules in filter(None, (self.client, self.registry)):
            if rules.forbid_remote_code:
                raise PolicyViolation(_runs_code(subject, rules))

    def violations(self, subject: str, manifest: Manifest, signatures: Iterable[Signature]) -> Iterator[str]:
        """Yield every rule that a version breaks, each as a sentence that names the rule, its file and what to do.

        `subject` names the version in the sentence. Raises BadConfiguration if a trusted key can't be used.
        """
        signature_list = list(signatures)
        for rules in (self.client, *([self.registry] if self.registry else [])):
            yield from _stated(subject, manifest, rules)
            if rules.require_signature:
                # If a registry's rules name no keys, those that the client trusts count.
                yield from _signed(subject, signature_list, rules, rules if rules.keys else self.client)


def _stated(subject: str, manifest: Manifest, rules: Rules) -> Iterator[str]:
    corpus = manifest.corpus
    if rules.allowed_licenses is not None:
        licenses = [("license", manifest.license)]
        licenses += [("corpus' license", license) for license in corpus.licenses] if corpus else []
        for what, license in licenses:
            if license is None or not _matches(
                license.casefold(), [text.casefold() for text in rules.allowed_licenses]
            ):
                yield _broken(
                    subject, rules, "allowed_licenses", f"states {_quoted(license)} as its {what}", "allow it there"
                )
    base = manifest.base.repository
    if rules.allowed_bases is not None and (base is None or not _matches(base, rules.allowed_bases)):
        yield _broken(subject, rules, "allowed_bases", f"states {_quoted(base)} as its base", "allow it there")
    if rules.forbid_remote_code and _ran_code(manifest.recipe or {}):
        yield _runs_code(subject, rules)
    size = sum(file.size for file in manifest.files)
    if rules.max_size is not None and size > rules.max_size:
        yield _broken(subject, rules, "max_size", f"has {size} bytes, not {rules.max_size} at most", "raise it there")


def _ran_code(recipe: Mapping[str, Any]) -> bool:
    base = recipe.get("base")
    return isinstance(base, Mapping) and bool(base.get("trust_remote_code"))


def _runs_code(subject: str, rules: Rules) -> str:
    return _broken(subject, rules, "forbid_remote_code", "runs its base's own code", "allow it there")


def _signed(subject: str, signatures: Sequence[Signature], rules: Rules, trusting: Rules) -> Iterator[str]:
    if not trusting.keys:
        yield _broken(
            subject, rules, "require_signature", "can't be checked for a trusted signature", "name the keys you trust"
        )
    elif not signers(signatures, trusting.public_keys()):
        names = ", ".join(name for name, _ in trusting.keys)
        how = f"is signed by none of {names}" + ("" if signatures else ", since it isn't signed at all")
        yield _broken(
            subject, rules, "require_signature", how, "have it signed with `ahf sign`, or add its signer's key"
        )


def _broken(subject: str, rules: Rules, rule: str, how: str, cure: str) -> str:
    return f"{subject} {how}, against {rule} in {rules.source}: choose another version, or {cure}"


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _quoted(text: Any) -> str:
    return "nothing" if text is None else repr(text)
