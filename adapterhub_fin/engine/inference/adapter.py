"""Answer with a loaded adapter: predict, embed, generate, and the model and manifest behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.locks import computing, tokenizing
from adapterhub_fin.engine.base.padding import aligned_padding
from adapterhub_fin.engine.data.batches import check_batch_size, on_device
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.rows import Row, input_rows, text_columns
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText
from adapterhub_fin.plugin.examples import encode_inputs
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.plugin.other_adapters import own_modules
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.plugin.texts import check_prompt, check_prompts
from adapterhub_fin.recipe.decoding import Decoding

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.inference.generating import Prompt
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin_registry import Manifest, Version
else:
    torch = Lazy("torch")


class NoTokenizer:
    """Stand where a plain module was loaded without a tokenizer: it says so when a text is to be read."""

    pad_token_id = None  # there is nothing to pad

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise BadRecipe("the adapter was loaded without a tokenizer, so that it reads no texts: give tokenizer=...")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.pad


@dataclass(frozen=True)
class Adapter:
    """Hold a version on a model, ready to answer; other adapters may share the model."""

    version: Version
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase | Any  # a NoTokenizer of a plain module
    method: MethodImplementation
    head: HeadImplementation | None
    adapter_name: str
    max_length: int

    @property
    def manifest(self) -> Manifest:
        return self.version.manifest

    @property
    def reference(self) -> str:
        """Name and number, as in `acme/tone@3`."""
        return self.version.reference

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        return html_table(f"Adapter {self.reference}", [*self.manifest.facts(), ("max_length", self.max_length)])

    def __repr__(self) -> str:
        return f"Adapter({self.reference}, {self.manifest.method.name} on {self.manifest.base.called})"

    def logits(self, rows: Any, batch_size: int = 32, *, progress: bool = False) -> Tensor:
        """Return raw outputs of the head, (rows, outputs), float32 on the CPU, in the order given.

        `rows` are texts, or rows as `predict` takes them. Raises BadText for a row that can't be read, and BadRecipe
        where the version has no head.
        """
        return self._outputs(input_rows(rows, "logits", text_columns(self.version)), batch_size, progress)

    def predict(self, rows: Any, batch_size: int = 32, *, progress: bool = False) -> Sequence[Any]:
        """Return one typed answer for each row, in the order given; `progress` draws a bar on a terminal.

        `rows` are texts, mappings, or a table of pandas, polars, pyarrow or datasets: with the columns that the version
        was trained on, with `text`, or with conversations as `messages`. Raises BadText for a row that can't be read,
        and BadRecipe where the version has no head.

        Example:
            >>> adapter.predict(["Margins widened."])[0].label
            'positive'
        """
        if not (read := input_rows(rows, "predict", text_columns(self.version))):
            return []
        outputs = self._outputs(read, batch_size, progress)
        assert self.head is not None, "_outputs refuses a version without a head"
        return self.head.predictions(outputs)

    def predict_table(
        self,
        table: str | Path,
        out: str | Path,
        *,
        text: str | Sequence[str] | None = None,
        batch_size: int = 32,
        workers: int = 1,
        progress: bool = False,
        **reading: Any,
    ) -> int:
        """Answer the rows of a file into another, a part of it in memory at a time, and return how many there are.

        Both are .csv, .tsv, .jsonl or .parquet. `text` names the column of the text, or several that are joined; by
        default they are found as `predict` does. `out` has the columns of `table`, `predicted_...`, and `reference`,
        and appears when all rows are answered. `reading` is encoding, separator, header or na_values; what is not given
        is as in the version's own recipe. `workers` is the number of processes; in a program, call it below
        `if __name__ == "__main__":` then. Raises BadCorpus for a table that can't be read, BadText for rows that can't
        be answered, which it names, BadRecipe for options or columns that don't fit, and WriteFailed.

        Example:
            >>> adapter.predict_table("news.csv", "answered.parquet", text="headline")
            1200
            >>> adapter.predict_table("desk.csv", "answered.csv", separator=";", encoding="cp1252")
            600
        """
        from adapterhub_fin.engine.inference.predict_table import predict_table
        from adapterhub_fin.engine.inference.processes import spread

        options: dict[str, Any] = {"text": text, "reading": reading, "batch_size": batch_size, "progress": progress}
        with spread([self], workers) as adapters:
            return predict_table(adapters[0], table, out, **options)

    def embed(self, rows: Any, batch_size: int = 32, *, progress: bool = False, **options: Any) -> np.ndarray:
        """Return a vector for each row: (rows, hidden), float32; by default the mean of the last hidden states.

        `rows` are texts, or rows as `predict` takes them. Options are pooling (mean, first, last, max), layer (-1 is
        the last) and normalize.
        """
        read = input_rows(rows, "embed", text_columns(self.version))
        embedding = checked(Embedding, options, "embed")

        def vectors(batch: dict[str, Tensor]) -> Tensor:
            return embedding.pool(
                self.method.hidden_states(self.model, self.adapter_name, batch), batch["attention_mask"]
            )

        encoded = self._encoded(read, partial(encode_inputs, tokenizer=self.tokenizer, max_length=self.max_length))
        return self._batched(encoded, batch_size, vectors, progress).numpy()

    def generate(
        self, prompts: Sequence[Prompt], batch_size: int = 8, *, progress: bool = False, **options: Any
    ) -> Sequence[str]:
        """Write on from each prompt, a text or a conversation; see `decoding.Decoding` for options."""
        from adapterhub_fin.engine.inference.generating import generate

        asks = check_prompts(prompts, "generate")
        return generate(self, asks, batch_size, checked(Decoding, options, "generate"), progress)

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[str]:
        """Write on from one prompt as `generate` does, piece by piece."""
        from adapterhub_fin.engine.inference.generating import stream

        return stream(self, check_prompt(prompt, "stream: the prompt"), checked(Decoding, options, "generate"))

    def _outputs(self, rows: Sequence[Row], batch_size: int, progress: bool) -> Tensor:
        """Return the head's outputs (rows, outputs). Raises BadRecipe where the version has no head."""
        head = self.head
        if head is None:
            raise BadRecipe(f"{self.reference} has no head to predict with; use embed")

        def outputs(batch: dict[str, Tensor]) -> Tensor:
            read = {name: value for name, value in batch.items() if name != "labels"}
            return head.answers(head.raw_outputs(self.model(**read)), batch)

        encode = partial(head.encode_inputs, tokenizer=self.tokenizer, max_length=self.max_length)
        return self._batched(self._encoded(rows, encode), batch_size, outputs, progress)

    def _encoded(self, rows: Sequence[Row], encode: Callable[[Sequence[Row]], Sequence[dict[str, Any]]]) -> Any:
        try:
            with tokenizing():
                return encode(rows)
        except BadCorpus as error:  # said of rows to answer, and not of a corpus
            raise BadText(str(error)) from error

    def _batched(
        self,
        examples: Sequence[dict[str, Any]],
        batch_size: int,
        answer: Callable[[dict[str, Tensor]], Tensor],
        progress: bool,
    ) -> Tensor:
        """Answer in batches of like length, which spares padding, and put the answers back in order."""
        check_batch_size(batch_size)
        if not len(examples):
            return torch.empty(0, 0)
        order = sorted(range(len(examples)), key=lambda i: (len(examples[i]["input_ids"]), i))
        device = next(self.model.parameters()).device
        answers: list[Tensor] = [torch.empty(0)] * len(examples)
        shown = progress and len(order) > batch_size
        with self.answering(), bar("answering", len(order), shown=shown) as advance:
            for start in range(0, len(order), batch_size):
                indices = order[start : start + batch_size]
                batch = on_device(self._batch([examples[index] for index in indices]), device)
                for index, value in zip(indices, answer(batch).float().cpu(), strict=True):
                    answers[index] = value
                advance(len(indices))
        from adapterhub_fin.engine.inference.finite import check_finite

        stacked = torch.stack(answers)
        check_finite(stacked, self.reference, "text")
        return stacked

    def _batch(self, examples: list[dict[str, Any]]) -> Mapping[str, Any]:
        """Return the examples as one batch, padded to the longest."""
        if self.head is not None and "labels" in examples[0]:
            return self.head.collator(self.tokenizer)(examples)
        names = [name for name in examples[0] if name != "attention_mask"]  # padding makes it
        padded: Mapping[str, Any] = self.tokenizer.pad(
            {name: [example[name] for example in examples] for name in names}, return_tensors="pt"
        )
        return padded

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Hold the model for this thread, with this adapter name active, in evaluation mode and without gradients.

        Other threads that want the model, or another on the same backbone, wait. Each module's own mode comes back.
        """
        with computing(self.model), aligned_padding(self.model, self.tokenizer.pad_token_id):
            in_training = [module for module in own_modules(self.model, self.adapter_name) if module.training]
            self.method.activate(self.model, self.adapter_name)
            _set_training(in_training, False)
            try:
                with torch.inference_mode():
                    yield
            finally:
                _set_training(in_training, True)


def _set_training(modules: Sequence[nn.Module], mode: bool) -> None:
    for module in modules:
        module.training = mode
