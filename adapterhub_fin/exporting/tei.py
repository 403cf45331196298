"""List what Text Embeddings Inference takes of a version, which it reads as a merged folder: it loads no adapter (788).

Each rule names its file in https://github.com/huggingface/text-embeddings-inference, as of July 2026 (0d124dc).
"""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin.exporting.finding import Finding, StoredAdapter
from adapterhub_fin.exporting.folding_rules import cannot_fold, writes_text

ENGINE = "Text Embeddings Inference"
# backends/candle/src/lib.rs on a CPU, by Transformers' names of backbones; `GTE` and `JinaBert` bring their own code.
CLASSIFIERS = frozenset(
    {
        *("BertModel", "CamembertModel", "DebertaV2Model", "DistilBertModel", "ModernBertModel", "RobertaModel"),
        "XLMRobertaModel",
    }
)
EMBEDDERS = CLASSIFIERS | {"Gemma3TextModel", "MPNetModel", "NomicBertModel", "Qwen3Model"}
ON_GPUS = frozenset({"LlamaModel", "MistralModel", "Qwen2Model"})
ONNX = "answer with --layout onnx, or with ahf serve and ahf.load"


def rules(stored: StoredAdapter, max_rank: int | None) -> list[Finding]:
    """Return every finding on a version, folded into its base; ranks have no limit then."""
    return [
        *writes_text(stored, ENGINE),
        *cannot_fold(stored),
        *_architecture(stored),
        *_head(stored),
        *_answers(stored),
        *_reading(stored),
    ]


def _classifies(stored: StoredAdapter) -> bool:
    return stored.config.get("task_type") == "SEQ_CLS"


def _architecture(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply backends/candle/src/lib.rs, and the `bail` of a class under ModelType::Classifier."""
    classes, name = (CLASSIFIERS if _classifies(stored) else EMBEDDERS), stored.architecture
    if name in classes:
        return
    what = "classifier" if _classifies(stored) else "embedder"
    if name is None:
        says = f"which class the base is was not recorded, and {ENGINE} has a {what} for some"
        yield Finding("unsure", "architecture", "base", says, "load the version once, which records it")
    elif name in ON_GPUS and not _classifies(stored):
        says = f"{ENGINE} computes a {name} on a CUDA GPU alone, in fp16"
        yield Finding("unsure", "architecture", "base", says, "use a GPU, or " + ONNX)
    else:
        yield Finding("refused", "architecture", "base", f"{ENGINE} has no {what} for a {name}", ONNX)


def _head(stored: StoredAdapter) -> Iterator[Finding]:
    """Report heads that no folder of Transformers holds, so that none can be merged."""
    options = stored.head_options
    if options.get("pooling") == "mean" or options.get("network") == "mlp" or stored.head == "fusion":
        says = f"the head {stored.head} has layers that Transformers does not build from a configuration"
        yield Finding("refused", "head", "head", says, ONNX)


def _answers(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply core/src/infer.rs: `predict` takes a softmax over the labels, or a sigmoid of a single output."""
    wrong = {"multi-label": "shares them over the labels by a softmax", "regress": "puts it through a sigmoid"}
    if stored.head in wrong:
        says = f"{ENGINE} gives no answer of the head {stored.head}: it {wrong[stored.head]}"
        yield Finding("wrong", "answers", "head", says, "ask for raw_scores and make the answer yourself, or " + ONNX)


def _reading(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply router/src/lib.rs: max_position_embeddings and 1_Pooling; and the GELU of backends/candle/src/lib.rs."""
    if not _classifies(stored):
        says = f"{ENGINE} pools the first token unless it is told otherwise, and ahf embed takes the mean"
        yield Finding("unsure", "pooling", "head", says, "start it with --pooling mean")
    says = f"{ENGINE} cuts texts at the base's positions, and computes GELU by tanh where the configuration says gelu"
    do = "cut texts at training.max_length yourself, and compare some answers"
    yield Finding("unsure", "reading", "config.json", says, do)
