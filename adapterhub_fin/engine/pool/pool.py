"""Answer with many adapters of one base, resident in one process and safe in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.finite import check_finite
from adapterhub_fin.engine.inference.generating import generate_counted, stream
from adapterhub_fin.engine.inference.rows import input_rows
from adapterhub_fin.engine.inference.stopping import Written
from adapterhub_fin.engine.pool.answers import PoolAnswer, PoolStats, PoolText, PoolVectors, ResidentVersion
from adapterhub_fin.engine.pool.batches import Item, answered, head_outputs, vectors
from adapterhub_fin.engine.pool.bytes import read_bytes
from adapterhub_fin.engine.pool.generating import PoolWriter, written
from adapterhub_fin.engine.pool.loading import Loader
from adapterhub_fin.engine.pool.requests import Ask, Resolver, by_version, read_asks
from adapterhub_fin.engine.pool.resident import Resident
from adapterhub_fin.engine.pool.residents import Residents
from adapterhub_fin.engine.pool.seconds import read_seconds
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText, LookAhead, NotFound
from adapterhub_fin.plugin.examples import encode_inputs
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.plugin.texts import check_prompt
from adapterhub_fin.recipe.decoding import Decoding
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.pool.serving import Serving
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.version import AnyReference

DEFAULT_BYTES: Final = "1GiB"


class Pool:
    """Hold adapters of one base in memory and answer rows of any mix of them; make one with `ahf.pool`.

    Threads may call every method at once: which row is whose travels with the call, and nothing is switched on the
    model.
    """

    def __init__(self, loader: Loader, resolver: Resolver, limit: int) -> None:
        self._loader, self._resolver = loader, resolver
        self._residents = Residents(limit, lambda version: loader.load(version, resolver.home(version)))

    def predict(
        self,
        rows: Any,
        reference: AnyReference | None = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
        batch_size: int = 64,
        progress: bool = False,
    ) -> list[PoolAnswer | None]:
        """Return one typed answer for each row, in the order given, each with the version that made it.

        `rows` are pairs of a row and a reference, `[(text, "acme/tone@champion"), ...]`, or with `reference` rows
        alone, as `Adapter.predict` takes them. `as_of` is one instant for all rows or one for each: the version is the
        one that had learned nothing from that instant on. Raises LookAhead for rows that no version may answer; with
        `skip_refused` None stands in their place. Raises BadText for a row that can't be read, WrongBase for a version
        of another base, and what resolving and loading raise.

        Example:
            >>> pool.predict([("Margins widened.", "acme/tone@champion"), ("A lawsuit.", "acme/risk@3")])[0].value.label
            'positive'
        """
        asks = read_asks(rows, reference, as_of, include_base, skip_refused, self._resolver)
        results: list[PoolAnswer | None] = [None] * len(asks)
        with bar("answering", len(asks), shown=progress and len(asks) > batch_size) as advance:
            for resident, numbers, outputs in self._outputs(asks, batch_size, advance):
                assert resident.head is not None, "_encoded refuses a version without a head"
                values = resident.head.predictions(outputs)
                for number, value in zip(numbers, values, strict=True):
                    version = asks[number].version  # of one content under two names, the one that was asked for
                    assert version is not None
                    results[number] = PoolAnswer(value, version.reference, version.digest)
        return results

    def logits(self, rows: Any, reference: AnyReference | None = None, *, batch_size: int = 64) -> list[Tensor]:
        """Return the raw outputs of each row's head, (outputs,) float32 on the CPU, in the order given."""
        asks = read_asks(rows, reference, None, True, False, self._resolver)
        results: list[Tensor] = [torch.empty(0)] * len(asks)
        for _, numbers, outputs in self._outputs(asks, batch_size, lambda count: None):
            for number, output in zip(numbers, outputs, strict=True):
                results[number] = output
        return results

    def embed(
        self,
        rows: Any,
        reference: AnyReference | None = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
        batch_size: int = 64,
        progress: bool = False,
        **options: Any,
    ) -> PoolVectors:
        """Return a vector for each row, (rows, hidden) float32, each by its own version; see `predict` for the rows.

        Options are pooling (mean, first, last, max), layer (-1 is the last) and normalize, as in `Adapter.embed`.
        Vectors of several versions aren't comparable: see `ahf.embed_table` for their alignment.
        """
        embedding = checked(Embedding, options, "embed")
        asks = read_asks(rows, reference, as_of, include_base, skip_refused, self._resolver)
        results: dict[int, np.ndarray] = {}
        sizes: dict[int, int] = {}
        compute = vectors(embedding)
        with bar("embedding", len(asks), shown=progress and len(asks) > batch_size) as advance:
            for residents, chunk in self._in_memory(asks):
                apart = {digest: each for digest, each in residents.items() if each.adapter is not None}
                for digest, resident in apart.items():
                    own = [ask for ask in chunk if ask.version is not None and ask.version.digest == digest]
                    assert resident.adapter is not None
                    made = resident.adapter.embed([_row(ask, resident, "embed") for ask in own], batch_size, **options)
                    sizes |= {item.number: item.length for item in _items(own, residents, "embed", _plain)}
                    results |= zip((ask.number for ask in own), made, strict=True)
                    advance(len(own))
                rest = [ask for ask in chunk if ask.version is not None and ask.version.digest not in apart]
                items = _items(rest, residents, "embed", _plain)
                answers = answered(items, batch_size, compute, advance)
                _check(answers, items)
                results |= {number: value.numpy() for number, value in answers.items()}
                sizes |= {item.number: item.length for item in items}
        return _stacked(asks, results, sizes)

    def generate(
        self,
        prompts: Any,
        reference: AnyReference | None = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
        batch_size: int = 8,
        progress: bool = False,
        **options: Any,
    ) -> list[PoolText | None]:
        """Write on from each prompt, a text or a conversation, each by its own version; see `predict` for references.

        Options are those of `Adapter.generate`. Prompts of several adapters share a batch in greedy decoding; with a
        temperature each adapter's are drawn by themselves. Raises BadRecipe for a version that does not write text.
        """
        decoding = checked(Decoding, options, "generate")
        asks = read_asks(prompts, reference, as_of, include_base, skip_refused, self._resolver)
        results: list[PoolText | None] = [None] * len(asks)
        with bar("writing", len(asks), shown=progress and len(asks) > batch_size) as advance:
            for residents, chunk in self._in_memory(asks):
                for number, text in _written(residents, chunk, batch_size, decoding, advance).items():
                    version = asks[number].version
                    assert version is not None
                    facts = text.prompt_tokens, text.new_tokens, text.ended
                    results[number] = PoolText(text.text, version.reference, version.digest, *facts)
        return results

    def stream(
        self,
        prompt: Any,
        reference: AnyReference | None = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        **options: Any,
    ) -> Generator[str, None, PoolText]:
        """Yield what a version writes on after one prompt, as it is written, and return the whole answer.

        The version stays in memory until the last piece, or until the reader leaves. Raises as `generate`.
        """
        decoding = checked(Decoding, options, "generate")
        [ask] = read_asks([prompt], reference, as_of, include_base, False, self._resolver)
        if ask.version is None:
            raise LookAhead("stream: no version may write on after this prompt, which `asks` skipped: leave it out")
        row, version = check_prompt(ask.row, "stream: the prompt"), ask.version
        with self._residents.hold([version]) as [resident]:
            made = yield from stream(resident.adapter or PoolWriter(resident), row, decoding)
        return PoolText(made.text, version.reference, version.digest, made.prompt_tokens, made.new_tokens, made.ended)

    def serving(self, **settings: Any) -> Serving:
        """Return a server of this pool for many async callers, to use in `async with`; see `Serving` for the settings.

        Example:
            >>> async with pool.serving(max_wait="2ms", max_batch=64) as serving:
            ...     answer = await serving.predict("Margins widened.", "acme/tone@champion")
        """
        from adapterhub_fin.engine.pool.serving import Serving
        from adapterhub_fin.engine.pool.serving_settings import ServingSettings

        return Serving(self, ServingSettings.read(settings))

    def asks(
        self,
        rows: Any,
        reference: AnyReference | None = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
    ) -> list[Ask]:
        """Return the rows of a call, each with the version that answers it, to give to `predict` or another call later.

        Raises LookAhead and what resolving raises.
        """
        return read_asks(rows, reference, as_of, include_base, skip_refused, self._resolver)

    def home(self, version: Version) -> Registry:
        """Return the registry that holds a version of `asks`."""
        return self._resolver.home(version)

    def pin(self, *references: AnyReference) -> None:
        """Load versions and keep them in memory until `unpin`. Raises Refused where they don't fit."""
        for reference in references:
            self._residents.pin(self._resolver.version(reference))

    def unpin(self, *references: AnyReference) -> None:
        """Let versions be evicted again. Raises Refused for one that isn't pinned."""
        for reference in references:
            self._residents.unpin(self._in_memory_as(reference))

    def evict(self, *references: AnyReference) -> None:
        """Remove versions from memory now. Raises Refused for one that is pinned or computing."""
        for reference in references:
            self._residents.evict(self._in_memory_as(reference))

    def resident(self) -> list[ResidentVersion]:
        """List the versions in memory, the last used first."""
        return [
            ResidentVersion(each.reference, each.version.digest, each.bytes, users, pinned, each.apart)
            for each, users, pinned in self._residents.listed()
        ]

    def stats(self) -> PoolStats:
        """Return counts of hits, loads and evictions since the pool was made, and its bytes."""
        listed, counts = self._residents.listed(), self._residents.counts
        return PoolStats(
            bytes=sum(each.bytes for each, _, _ in listed),
            limit=self._residents.limit,
            resident=len(listed),
            hits=counts.hits,
            loads=counts.loads,
            evictions=counts.evictions,
            loads_by=dict(counts.loads_by),
        )

    def __repr__(self) -> str:
        stats = self.stats()
        return f"Pool({self._loader.called}, {stats.resident} resident, {stats.bytes:,} of {stats.limit:,} bytes)"

    def _in_memory_as(self, reference: AnyReference) -> Version:
        """Return what a reference means; a version in memory is found by its name and number after its deletion too."""
        try:
            return self._resolver.version(reference)
        except NotFound:
            for resident, _, _ in self._residents.listed():
                if reference in (resident.version, resident.reference):
                    return resident.version
            raise

    def _outputs(
        self, asks: Sequence[Ask], batch_size: int, advance: Callable[[int], Any]
    ) -> Iterator[tuple[Resident, list[int], Tensor]]:
        """Yield each version's rows and the outputs of its head, (rows, outputs)."""
        for residents, chunk in self._in_memory(asks):
            for digest, resident in residents.items():
                if resident.adapter is not None:
                    own = [ask for ask in chunk if ask.version is not None and ask.version.digest == digest]
                    made = resident.adapter.logits([_row(ask, resident, "predict") for ask in own], batch_size)
                    yield resident, [ask.number for ask in own], made
                    advance(len(own))
            rest = [ask for ask in chunk if ask.version and residents[ask.version.digest].adapter is None]
            items = _items(rest, residents, "predict", _by_head)
            answers = answered(items, batch_size, head_outputs, advance)
            _check(answers, items)
            for digest, own in by_version(rest).items():
                numbers = [ask.number for ask in own]
                yield residents[digest], numbers, torch.stack([answers[number] for number in numbers])

    def _in_memory(self, asks: Sequence[Ask]) -> Iterator[tuple[dict[str, Resident], list[Ask]]]:
        """Yield the asks in parts whose versions are in memory together, with these versions by digest."""
        groups = by_version(asks)
        waiting = list(groups)
        while waiting:
            versions = [group[0].version for group in (groups[digest] for digest in waiting)]
            with self._residents.hold([version for version in versions if version is not None]) as residents:
                held = {resident.version.digest: resident for resident in residents}
                yield held, [ask for digest in held for ask in groups[digest]]
            waiting = waiting[len(held) :]


def _row(ask: Ask, resident: Resident, call: str) -> Mapping[str, Any]:
    """Return one row as a version reads it. Raises BadText, which names the row."""
    return input_rows([ask.row], call, resident.manifest, ask.number)[0]


def _written(
    residents: Mapping[str, Resident],
    asks: Sequence[Ask],
    batch_size: int,
    decoding: Decoding,
    advance: Callable[[int], Any],
) -> dict[int, Written]:
    """Return what is written after each prompt, by its number."""
    texts: dict[int, Written] = {}
    together: list[tuple[int, Resident, Any]] = []
    for digest, own in by_version(asks).items():
        resident = residents[digest]
        prompts = [check_prompt(ask.row, f"generate: prompt {ask.number}") for ask in own]
        if resident.adapter is None:
            together += [(ask.number, resident, prompt) for ask, prompt in zip(own, prompts, strict=True)]
            continue
        made = generate_counted(resident.adapter, prompts, batch_size, decoding)
        texts |= zip((ask.number for ask in own), made, strict=True)
        advance(len(own))
    return texts | written(together, batch_size, decoding, advance)


Encoding = Callable[[Resident], Callable[[Sequence[Any]], Sequence[dict[str, Any]]]]


def _by_head(resident: Resident) -> Callable[[Sequence[Any]], Sequence[dict[str, Any]]]:
    if resident.head is None:
        raise BadRecipe(f"{resident.reference} has no head to predict with; use embed")
    return partial(resident.head.encode_inputs, tokenizer=resident.tokenizer, max_length=resident.max_length)


def _plain(resident: Resident) -> Callable[[Sequence[Any]], Sequence[dict[str, Any]]]:
    return partial(encode_inputs, tokenizer=resident.tokenizer, max_length=resident.max_length)


def _items(asks: Sequence[Ask], residents: Mapping[str, Resident], call: str, encoding: Encoding) -> list[Item]:
    """Return the rows encoded, each by its own version. Raises BadText for a row that can't be read."""
    items = []
    for digest, own in by_version(asks).items():
        resident = residents[digest]
        encode, rows = encoding(resident), [_row(ask, resident, call) for ask in own]
        try:
            with tokenizing():
                examples = encode(rows)
        except BadCorpus as error:  # of rows to answer, and not of a corpus
            raise BadText(str(error)) from error
        items += [Item(ask.number, resident, example) for ask, example in zip(own, examples, strict=True)]
    return items


def _check(answers: Mapping[int, Tensor], items: Sequence[Item]) -> None:
    """Raise NotFinite for the first row whose answer holds NaN or infinity."""
    for item in items:
        value = answers[item.number]
        if not torch.isfinite(value).all():
            check_finite(value[None], item.resident.reference, "text", [item.number])


def _stacked(asks: Sequence[Ask], results: Mapping[int, np.ndarray], sizes: Mapping[int, int]) -> PoolVectors:
    width = len(next(iter(results.values()))) if results else 0
    missing = np.full(width, np.nan, np.float32)
    rows = [results.get(ask.number, missing) for ask in asks]
    stacked = np.stack(rows).astype(np.float32, copy=False) if rows else np.empty((0, 0), np.float32)
    versions = [ask.version for ask in asks]
    return PoolVectors(
        stacked,
        tuple(version.reference if version else None for version in versions),
        tuple(version.digest if version else None for version in versions),
        tuple(sizes.get(ask.number, 0) for ask in asks),
    )


def pool(
    base: str | Path | nn.Module,
    *,
    bytes: int | str = DEFAULT_BYTES,  # noqa: A002
    registry: Registry | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: str | torch.device | None = None,
    refresh: float | str = 1.0,
    download: bool = False,
    trust_remote_code: bool = False,
) -> Pool:
    """Return a pool of adapters on one base, a folder, a Hub id or a model in memory, which it then owns.

    `bytes` bounds what adapters take, such as "256MiB"; the least recently used are evicted. A reference is looked up
    again `refresh` seconds after it was, or a time such as "2ms": a moved alias and a yanked version take effect within
    it. Raises BaseNotFound where the base isn't on this machine, unless `download`.

    Example:
        >>> pool = ahf.pool("minilm", bytes="256MiB")
        >>> pool.predict(["Margins widened."], "acme/tone@champion")[0].reference
        'acme/tone@3'
    """
    loader = Loader(base, tokenizer, device, download, trust_remote_code)
    registries = configured_registries() if registry is None else None
    return Pool(loader, Resolver(registries, registry, read_seconds(refresh)), read_bytes(bytes))
