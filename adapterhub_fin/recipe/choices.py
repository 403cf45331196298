"""Choose the plugins and the base of a run: a name, and further keys as its options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from adapterhub_fin.errors import AdapterHubError
from adapterhub_fin.plugin.asserted_dates import written_date
from adapterhub_fin.plugin.memory import is_table, taken_in
from adapterhub_fin.plugin.options import Options, checked
from adapterhub_fin.plugin.overrides import override
from adapterhub_fin.recipe.splitter import Splitter

if TYPE_CHECKING:
    from datetime import date

    from adapterhub_fin.plugin.descriptions import Description

DEFAULTS: Final = {"method": "lora", "head": "classify", "merger": "linear"}
BASE_ID: Final = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)  # a short name, or a Hub id
_VERSION: Final = re.compile(r"(?![./~])[^\\@]*@[^/\\]+")  # acme/fin@1, @sha256:...


class Plugged(BaseModel):
    """Choose a plugin by its name; its options are further keys of the same mapping."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="The plugin's name, as `ahf plugins` lists it.")

    @property
    def options(self) -> dict[str, Any]:
        """Return the plugin's options as given, unchecked."""
        return dict(self.__pydantic_extra__ or {})

    @classmethod
    def kind(cls) -> type[Description] | None:
        """Return the kind of plugin that is chosen."""
        return None

    @classmethod
    def option_types(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the types of the plugin's options, for `--set`; empty if the plugin isn't installed."""
        from adapterhub_fin.plugin.manager import extensions

        kind = cls.kind()
        name = values.get("name") or (DEFAULTS.get(kind.kind) if kind else None)
        if kind is None or not isinstance(name, str):
            return {}
        try:
            options = extensions().get(kind, name).load_options()
        except AdapterHubError:
            return {}  # `Recipe.check` reports it
        return {option: field.annotation for option, field in options.model_fields.items()}


class MethodChoice(Plugged):
    """Choose a method by name, with its options."""

    @classmethod
    def kind(cls) -> type[Description]:
        """Return Method."""
        from adapterhub_fin.plugin.descriptions import Method

        return Method


class HeadChoice(Plugged):
    """Choose a head by name, with its options."""

    @classmethod
    def kind(cls) -> type[Description]:
        """Return Head."""
        from adapterhub_fin.plugin.descriptions import Head

        return Head


class CorpusChoice(Plugged):
    """Choose a corpus by name, with its options and its splitter."""

    @classmethod
    def kind(cls) -> type[Description]:
        """Return Corpus."""
        from adapterhub_fin.plugin.descriptions import Corpus

        return Corpus

    splitter: Splitter = Field(default_factory=Splitter)

    @model_validator(mode="before")
    @classmethod
    def _takes_in_rows(cls, value: Any) -> Any:
        """Replace rows from memory, alone or under `data`, by their digest, which holds them."""
        return taken_in(value)

    @property
    def called(self) -> str:
        """Return the corpus's name for messages, with the path of its rows if it has one."""
        path = self.options.get("path")
        return self.name if path is None else f"{self.name} at {path}"

    @classmethod
    def read(cls, corpus: Any, overrides: Sequence[str] = ()) -> CorpusChoice:
        """Read a corpus given by its name, as in a recipe or as a table, apply `key=value` overrides and check it.

        Imports no torch. Raises UnknownName for a corpus that isn't installed, and BadRecipe for wrong options.
        """
        from adapterhub_fin.plugin.descriptions import Corpus
        from adapterhub_fin.plugin.manager import extensions

        data = {"name": corpus} if isinstance(corpus, str) else {"data": corpus} if is_table(corpus) else dict(corpus)
        choice = checked(cls, override(data, overrides, cls), "corpus")
        extensions().options(Corpus, choice.name, choice.options)
        return choice


def named_base(base: str | Path) -> dict[str, Any]:
    """Return the keys of a `BaseChoice` for a base given as a text: its path, its stored version, or its id.

    A text with an @ in its last part, a digest or a `hf://` is a stored version's reference. Any other is a folder if
    it looks like a path, or if a folder of that name exists; a single word only if that folder holds a model. Recipes,
    commands and functions all use this rule.
    """
    text = str(base)
    if isinstance(base, str) and (text.startswith(("hf://", "sha256:")) or _VERSION.fullmatch(text)):
        return {"version": text}
    folder = isinstance(base, Path) or text.startswith((".", "/", "~")) or "\\" in text
    exists = Path(text).is_dir() if "/" in text else (Path(text) / "config.json").is_file()
    return {"path": text} if folder or (text and exists) else {"id": text}


class BaseChoice(Options):
    """Choose a base by its id, its folder, or both, or by its stored version.

    The id and the version are recorded in manifests, the folder never.
    """

    id: str | None = Field(None, description="A known name such as `minilm`, or a Hub id.")
    path: Path | None = Field(None, description="A folder that holds the base; it is not recorded.")
    version: str | None = Field(
        None, description="A stored version of kind base: acme/fin@1, a digest, or a name alone for its newest."
    )
    as_of: str | None = Field(
        None,
        description="Take the newest version of that name which knew nothing from this day or instant on; by default "
        "the cut-off, where the rows are split by window.",
    )
    revision: str | None = Field(None, description="The Hub revision.")
    trust_remote_code: Literal[True] | None = Field(
        None, description="Let the base's own Python code run, with your rights: read it first. The version records it."
    )
    knowledge_end: str | None = Field(None, description="Date or instant of the last data the base could have seen.")
    evidence: str | None = Field(None, description="Where that date is stated: a model card, a paper.")

    @field_validator("knowledge_end", "as_of", mode="before")
    @classmethod
    def _as_yaml_reads_a_date(cls, value: Any) -> Any:
        return written_date(value)

    @field_validator("id")
    @classmethod
    def _an_id_and_no_path(cls, value: str | None) -> str | None:
        if value is not None and not BASE_ID.fullmatch(value):
            raise ValueError("an id reads org/model; a folder goes under path")
        return value

    @classmethod
    def read(cls, base: str | Path | Mapping[str, Any]) -> BaseChoice:
        """Read and check a base given by a text, a path or a mapping. Raises BadRecipe if it is wrong."""
        return checked(cls, base if isinstance(base, Mapping) else named_base(base), "base")

    @field_validator("version")
    @classmethod
    def _a_reference(cls, value: str | None) -> str | None:
        if value is not None:
            from adapterhub_fin_registry import parse_reference

            parse_reference(value)
        return value

    @field_validator("as_of")
    @classmethod
    def _an_instant(cls, value: str | None) -> str | None:
        if value is not None:
            from adapterhub_fin_registry.model.knowledge import as_of_instant

            as_of_instant(value)
        return value

    @property
    def is_bare_version(self) -> bool:
        """Return whether it names stored versions and leaves the choice among them to a date."""
        if self.version is None:
            return False
        from adapterhub_fin_registry import HubReference, Reference, parse_reference

        reference = parse_reference(self.version)
        if isinstance(reference, HubReference):
            return reference.revision is None
        return isinstance(reference, Reference) and reference.is_bare

    def dated(self, as_of: date | None) -> BaseChoice:
        """Return this choice, of a name's versions the newest from before a day, unless it says which itself."""
        if as_of is None or self.as_of is not None or not self.is_bare_version:
            return self
        return self.model_copy(update={"as_of": as_of.isoformat()})

    @model_validator(mode="after")
    def _a_version_says_the_rest(self) -> BaseChoice:
        if self.as_of is not None and self.version is None:
            raise ValueError("as_of chooses among the stored versions of a name: give version too")
        if self.version is None:
            return self
        if rest := [key for key in ("id", "path", "revision", "knowledge_end", "evidence") if getattr(self, key)]:
            raise ValueError(f"version {self.version} has its own weights and dates: leave {rest[0]} out")
        return self

    @model_validator(mode="after")
    def _is_one_base_with_evidence(self) -> BaseChoice:
        if self.id is None and self.path is None and self.version is None:
            raise ValueError("give an id, a path, or both, or a stored version")
        if (self.knowledge_end is None) != (self.evidence is None):
            raise ValueError("knowledge_end and evidence go together: say where the date is stated")
        return self
