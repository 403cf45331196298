"""Define the manifest, which describes a version and whose canonical bytes are its identity.

docs/reference/format.md explains every field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from adapterhub_fin_registry.errors import BadManifest
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of, json_object
from adapterhub_fin_registry.model.file_rules import BASE_CONFIG, CONFIG, WEIGHTS, clash, refusal
from adapterhub_fin_registry.model.format import FORMAT
from adapterhub_fin_registry.model.knowledge import BASE, INSTANT_PATTERN, format_instant, knowledge_end, parse_instant


def _instant(value: object) -> object:
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, str):
        parse_instant(value)
    return value


def _unicode(text: str) -> str:
    text.encode()  # a lone surrogate has no UTF-8, and the UnicodeEncodeError is a ValueError
    return text


def _sorted_unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a text occurs twice")
    return values


def _storable(path: str) -> str:
    if reason := refusal(path):
        raise ValueError(f"the path {path!r} {reason}")
    return path


def _repository(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?", value):
        raise ValueError(f"{value!r} isn't a Hub's id such as org/model; a path of this machine is never recorded")
    return value


Prose = Annotated[str, AfterValidator(_unicode)]
Text = Annotated[Prose, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Instant = Annotated[str, BeforeValidator(_instant), Field(pattern=INSTANT_PATTERN)]
StoredPath = Annotated[str, AfterValidator(_storable)]
Repository = Annotated[str, Field(max_length=200), AfterValidator(_repository)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(json_object)]
TextSet = Annotated[tuple[Text, ...], AfterValidator(_sorted_unique)]
Labels = Annotated[tuple[Text, ...], AfterValidator(_distinct)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class StoredFile(NamedTuple):
    """Describe one file of a version; the size is in bytes."""

    path: StoredPath
    size: Count
    sha256: Sha256


class Tensor(NamedTuple):
    """Describe one tensor, as a safetensors header does."""

    name: Text
    dtype: Text
    shape: tuple[Count, ...]


class Provider(_Part):
    """Name the distribution that provides a method, so that a reader knows what to install."""

    distribution: Text
    version: Text


class Method(_Part):
    """Describe the PEFT method: its name and its options."""

    name: Text
    options: JsonObject = {}
    provider: Provider | None = None
    traits: TextSet = ()


class Head(_Part):
    """Describe the task head; the version holds the full weights of the model's `modules_to_save`."""

    name: Text
    options: JsonObject = {}
    labels: Labels | None = None
    modules_to_save: TextSet = ()


class RowSums(_Part):
    """Hold sums over blocks of rows of an embedding.

    They show which rows are new or were initialized again.
    """

    dtype: Text
    grid: Text
    rows: Count
    size: float
    sums: tuple[float, ...]


class WeightProbe(_Part):
    """Hold a few seeded elements of each backbone tensor, which distinguish two models of one shape."""

    dtype: Text
    values: dict[Text, tuple[float, ...]]
    rows: dict[Text, RowSums] | None = None


class TokenizerProbe(_Part):
    """Hold what a tokenizer makes of some texts, and a digest of what it makes of its own vocabulary."""

    texts: dict[Text, tuple[Count, ...]]
    words: Digest


class BaseVersion(_Part):
    """Name a stored version of kind "base" by its digest, and by the name that it had then."""

    digest: Digest
    name: Text


class Base(_Part):
    """Identify the model that the adapter changes, by its repository, its stored version and its fingerprint.

    Of a version of kind "base" it is the fingerprint of the stored model itself.
    """

    repository: Repository | None = None
    revision: Text | None = None
    version: BaseVersion | None = None
    architecture: Text | None = None
    config_digest: Digest | None = None
    vocabulary_size: Count | None = None
    tokenizer_digest: Digest | None = None
    tokenizer_probe: TokenizerProbe | None = Field(None, repr=False)
    chat_template_digest: Digest | None = None
    structure_digest: Digest | None = None
    weight_probe: WeightProbe | None = Field(None, repr=False)  # a number for each of thousands of elements
    quantization: JsonObject | None = None
    transformers: Text | None = None
    fingerprint: Literal["verified", "declared", "unknown"]

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON values, as a manifest and an event hold it."""
        document = self.model_dump(mode="json", warnings=False)
        if self.version is None:
            del document["version"]
        return document

    @property
    def called(self) -> str:
        """Return what people call it: its repository, else the name of its stored version, else that it has none."""
        return self.repository or (self.version.name if self.version else "an unnamed base")

    @property
    def exactly_called(self) -> str:
        """Return what `called` does, and of a stored version its digest too, which tells vintages of a name apart."""
        if self.version is None:
            return self.called
        return f"{self.called} ({self.version.digest[:19]})"


class CorpusRows(_Part):
    """Describe the rows of one corpus.

    `available` holds the first and the last instant at which rows became available. `notes` counts peculiarities of the
    rows, such as copies.
    """

    name: Text
    options: JsonObject = {}
    digest: Digest | None = None
    rows: dict[Text, Count] = {}
    available: tuple[Instant, Instant] | None = None
    license: Text | None = None
    notes: dict[Text, Count] = {}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.available and parse_instant(self.available[0]) > parse_instant(self.available[1]):
            raise ValueError("available begins after it ends")
        return self


class Corpus(CorpusRows):
    """Describe what the adapter was trained on: the corpus that measures it, after the `stages` of a curriculum."""

    stages: tuple[CorpusRows, ...] = ()

    @property
    def licenses(self) -> tuple[str | None, ...]:
        """Return the license of each corpus that was trained on, once, the first stage's first."""
        return tuple(dict.fromkeys(rows.license for rows in (*self.stages, self)))


class KnowledgeInput(_Part):
    """Date one input of training: the latest instant at which all of it could be known.

    `input` is `base`, `corpus:NAME`, `tokenizer:NAME`, `labels:NAME`, `forgetting:NAME` or `parent:NAME`.
    """

    input: Text
    at: Instant
    kind: Literal["observed", "asserted", "bounded"]
    evidence: Prose = ""


class Knowledge(_Part):
    """Hold the dated inputs of training, the base among them, and the latest of their instants."""

    inputs: tuple[KnowledgeInput, ...]
    end: Instant

    @classmethod
    def of(cls, inputs: Iterable[KnowledgeInput]) -> Knowledge:
        """Return the knowledge of some inputs. Raises BadInstant without inputs."""
        listed = tuple(inputs)
        return cls(inputs=listed, end=format_instant(_end(listed)))

    @model_validator(mode="after")
    def _true(self) -> Knowledge:
        if parse_instant(self.end) != _end(self.inputs):
            raise ValueError(f"end is {self.end}, and the latest input is of {format_instant(_end(self.inputs))}")
        return self


class MeasuredOn(_Part):
    """Describe the part of the corpus on which the metrics were measured."""

    split: Text
    rows: Count
    corpus_digest: Digest | None = None


class Selection(_Part):
    """Say that a version was chosen among others by its score on the validation part, and among how many.

    `tried` counts the runs of its sweep, one for each combination of options and seed, whether they ended or not, and
    `earlier` the further runs of earlier sweeps in the same registry on the same rows. `score` is the mean over `seeds`
    runs, or with `folds` over the folds of a cross-validation too, and `interval` its 95 % interval over the seeds.
    """

    tried: Annotated[int, Field(ge=1)]
    earlier: Count = 0
    search: Text
    over: tuple[Text, ...]
    metric: Text
    score: float
    interval: tuple[float, float] | None = None
    seeds: Annotated[int, Field(ge=1)]
    folds: Annotated[int, Field(ge=2)] | None = None

    @property
    def best_of(self) -> int:
        """Return how many runs the score is the best of, earlier sweeps included."""
        return self.tried + self.earlier

    def validated(self) -> str:
        """Return how the validation score is to be read, in one sentence."""
        of = [f"mean of {self.seeds} seed{'s' if self.seeds > 1 else ''}"]
        of += [] if self.folds is None else [f"{self.folds} folds"]
        of += [] if self.interval is None else [f"95 % interval {self.interval[0]:.4f} to {self.interval[1]:.4f}"]
        earlier = f", {self.earlier:,} of them in earlier sweeps of the same rows" if self.earlier else ""
        return (
            f"validation {self.metric} {self.score:.4f} ({', '.join(of)}): best of {self.best_of:,}{earlier}, by "
            f"{self.search} over {', '.join(self.over)}"
        )

    def tested(self) -> str:
        """Return how the test metrics are to be read, in a few words."""
        return f"tested once, chosen among {self.best_of:,}"


class Parent(_Part):
    """Describe a version that this one was made from, under the name it had then."""

    digest: Digest
    name: Text
    role: Text
    weight: float | None = None


class Manifest(_Part):
    """Describe a version completely, except for where it is stored.

    It holds no name, number or time of storing, so that the same version has the same digest in every registry. Of kind
    "base" it is a whole model, which adapters are trained on; its `base` is the fingerprint of that model, and its
    `method` is what made it.
    """

    format: Literal[2] = 2
    kind: Literal["adapter", "base"] = "adapter"
    files: tuple[StoredFile, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    method: Method
    head: Head | None = None
    base: Base
    corpus: Corpus | None = None
    knowledge: Knowledge
    metrics: dict[Text, float] = {}
    measured_on: MeasuredOn | None = None
    selection: Selection | None = None
    recipe: JsonObject | None = None
    seed: int | None = None
    environment: dict[Text, Prose] = {}
    parents: tuple[Parent, ...] = ()
    description: Prose = ""
    license: Text | None = None
    tags: TextSet = ()

    def __repr__(self) -> str:
        made = f"a base by {self.method.name}" if self.kind == "base" else f"{self.method.name} on {self.base.called}"
        return f"<Manifest {self.digest[:19]}, {made}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        return html_table(f"Manifest {self.digest[:19]}", self.facts())

    def facts(self) -> list[tuple[str, Any]]:
        """Return what people want to see of the manifest first, by name; what isn't set is left out."""
        head, corpus = self.head, self.corpus
        options = {name: value for name, value in self.method.options.items() if value is not None}
        facts: list[tuple[str, Any]] = [
            ("method", f"{self.method.name} ({', '.join(f'{name}={value}' for name, value in options.items())})"),
            ("head", None if head is None else f"{head.name}: {', '.join(head.labels or ())}".rstrip(": ")),
            ("kind", None if self.kind == "adapter" else self.kind),
            ("base", f"{self.base.called} ({self.base.architecture}), {self.base.fingerprint}"),
            ("corpus", None if corpus is None else f"{corpus.name} ({_row_counts(corpus.rows)})"),
            ("knowledge end", self.knowledge.end),
            ("metrics", dict(self.metrics)),
            ("selected", self.selection and f"{self.selection.validated()}; {self.selection.tested()}"),
            ("parents", [parent.name for parent in self.parents]),
            ("license", self.license),
            ("description", self.description),
        ]
        return [(name, value) for name, value in facts if value not in (None, "", [], {})]

    @model_validator(mode="before")
    @classmethod
    def _known_format(cls, value: Any) -> Any:
        version = value.get("format", FORMAT) if isinstance(value, dict) else FORMAT
        if type(version) is int and version > FORMAT:
            raise ValueError(f"it is of format {version}, newer than this software knows: upgrade adapterhub_fin")
        if version == 1:
            raise ValueError("it is of format 1, which was never released: train or import the adapter again")
        return value

    @model_validator(mode="after")
    def _of_its_kind(self) -> Manifest:
        if self.kind == "adapter" and all(entry.input != BASE for entry in self.knowledge.inputs):
            raise ValueError(f"no input is named {BASE!r}: as_of needs the date of the base")
        if self.kind == "base" and self.head is not None:
            raise ValueError("a base has no head: store the model without it")
        if self.kind == "base" and self.base.version is not None:
            raise ValueError("a base isn't trained on a base version: the one before it is a parent")
        if self.kind == "base" and self.base.fingerprint != "verified":
            raise ValueError("a base has the fingerprint of its own weights: describe the model that is stored")
        if self.kind == "base" and self.files:
            self._check_files_of_a_base({file.path for file in self.files})
        return self

    def _check_files_of_a_base(self, paths: set[str]) -> None:
        if BASE_CONFIG not in paths:
            raise ValueError(f"a base without {BASE_CONFIG} is no model: store the folder that save_pretrained wrote")
        if adapters := paths & {CONFIG, WEIGHTS}:  # Transformers would load it with the model, without a word
            raise ValueError(f"a base holds {min(adapters)}, which is an adapter's: store the model without it")

    @model_validator(mode="after")
    def _sorted(self) -> Manifest:
        if two := clash(file.path for file in self.files):
            raise ValueError(f"the files {two[0]!r} and {two[1]!r} are the same on some systems")
        for rows in (self.files, self.tensors):
            names = [row[0] for row in rows]
            if names != sorted(set(names)):
                raise ValueError("files and tensors must be sorted by name, each once")
        return self

    @classmethod
    def parse(cls, data: bytes, document: Mapping[str, Any] | None = None) -> Manifest:
        """Return the manifest that canonical bytes hold; `document` spares reading the JSON where it was read before.

        Raises BadManifest for bytes that aren't a manifest in canonical form, and for a document of other bytes.
        """
        try:
            manifest = cls.model_validate(json.loads(data) if document is None else document)
        except ValidationError as error:
            raise BadManifest(f"this isn't a manifest that can be used: {_first(error)}") from error
        except (ValueError, RecursionError) as error:
            raise BadManifest("this isn't a manifest, it isn't JSON: get the version again") from error
        if manifest.canonical() != data:
            raise BadManifest("this manifest isn't in its canonical form, so that its digest is void: get it again")
        return manifest

    def canonical(self) -> bytes:
        """Return the canonical bytes, which are stored, signed and digested."""
        document = self.model_dump(mode="json", warnings=False)  # `parse` reports what is wrong
        # Manifests had not these from the beginning, and the digest of an old one must stay.
        if self.corpus is not None and not self.corpus.stages:
            del document["corpus"]["stages"]
        if self.selection is None:
            del document["selection"]
        if self.kind == "adapter":
            del document["kind"]
        if self.base.version is None:
            del document["base"]["version"]
        return canonical(document)

    @property
    def digest(self) -> str:
        """Return the digest of the manifest, which is the version's identity."""
        return digest_of(self.canonical())


def _row_counts(rows: Mapping[str, int]) -> str:
    """Return how many rows each part has, in the order of their use."""
    order = ("train", "validation", "test")
    parts = [part for part in order if part in rows] + sorted(rows.keys() - set(order))
    return ", ".join(f"{part} {rows[part]:,}" for part in parts)


def _end(inputs: Iterable[KnowledgeInput]) -> datetime:
    return knowledge_end((entry.input, parse_instant(entry.at)) for entry in inputs)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    location = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return f"{location}: {reason}" if location else reason
