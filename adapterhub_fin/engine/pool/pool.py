"""Answer with many adapters of one base, resident in one process and safe in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.generating import stream
from adapterhub_fin.engine.pool.answers import PoolAnswer, PoolStats, PoolText, PoolVectors, ResidentVersion
from adapterhub_fin.engine.pool.calls import outputs_of, stacked, vectors_of, written_texts
from adapterhub_fin.engine.pool.generating import PoolWriter
from adapterhub_fin.engine.pool.loading import Loader
from adapterhub_fin.engine.pool.requests import Ask, Resolver, by_version, read_asks
from adapterhub_fin.engine.pool.resident import Resident
from adapterhub_fin.engine.pool.residents import Residents
from adapterhub_fin.engine.pool.seconds import read_seconds
from adapterhub_fin.errors import LookAhead, NotFound
from adapterhub_fin.plugin.byte_sizes import read_bytes
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
                assert resident.head is not None, "a version without a head is refused before"
                values = resident.head.predictions(outputs)
                for number, value in zip(numbers, values, strict=True):
                    version = asks[number].version  # of one content under two names, the one that was asked for
                    assert version is not None
                    results[number] = PoolAnswer(value, version.reference, version.digest)
        return results

    def logits(
        self,
        rows: Any,
        reference: AnyReference | None = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
        batch_size: int = 64,
    ) -> list[Tensor]:
        """Return the raw outputs of each row's head, (outputs,) float32 on the CPU, in the order given.

        See `predict` for the rows; one that was refused and skipped has no outputs, (0,).
        """
        asks = read_asks(rows, reference, as_of, include_base, skip_refused, self._resolver)
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
        made: dict[int, tuple[np.ndarray, int]] = {}
        with bar("embedding", len(asks), shown=progress and len(asks) > batch_size) as advance:
            for residents, chunk in self._in_memory(asks):
                made |= vectors_of(residents, chunk, batch_size, embedding, options, advance)
        return stacked(asks, made)

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
                for number, text in written_texts(residents, chunk, batch_size, decoding, advance).items():
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

        The version stays in memory until the last piece, or until the reader leaves. Raises LookAhead for a prompt that
        no version may answer, and as `generate`.
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
            loads_by=self._residents.loads_by(),
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
            yield from outputs_of(residents, chunk, batch_size, advance)

    def _in_memory(self, asks: Sequence[Ask]) -> Iterator[tuple[dict[str, Resident], list[Ask]]]:
        """Yield the asks in parts whose versions are in memory together, with these versions by digest."""
        groups = by_version(asks)
        waiting, loaded = list(groups), dict[str, Resident]()
        while waiting:
            versions = [group[0].version for group in (groups[digest] for digest in waiting)]
            wanting = [version for version in versions if version is not None]
            with self._residents.hold(wanting, loaded) as residents:
                by_digest = {resident.version.digest: resident for resident in residents}
                yield by_digest, [ask for digest in by_digest for ask in groups[digest]]
            waiting = waiting[len(by_digest) :]


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
    loader = Loader(base, tokenizer, device, download, trust_remote_code, registry)
    registries = configured_registries() if registry is None else None
    return Pool(loader, Resolver(registries, registry, read_seconds(refresh)), read_bytes(bytes))
