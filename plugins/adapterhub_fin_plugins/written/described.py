"""Describe the metrics of written text; this module imports none of them."""

from __future__ import annotations

from typing import Final

from adapterhub_fin.plugin import Metric

HERE: Final = "adapterhub_fin_plugins.written"
METRICS: Final = {  # by the module that has them
    "overlap": {
        "rouge1": "Mean F-measure of shared words, 0 to 1 (Lin 2004).",
        "rouge2": "Mean F-measure of shared pairs of words, 0 to 1 (Lin 2004).",
        "rouge_l": "Mean F-measure of the longest common subsequence of words, 0 to 1 (Lin 2004).",
        "exact_match": "Share of answers that are the truth, but for case, punctuation and articles (SQuAD).",
        "token_f1": "Mean F1 of the words of answer and truth, 0 to 1 (SQuAD).",
    },
    "ngrams": {
        "bleu": "BLEU of all rows together, 0 to 100, by sacrebleu (Papineni et al. 2002).",
        "chrf": "chrF2 of all rows together, 0 to 100, by sacrebleu (Popovic 2015).",
    },
    "amounts": {
        "number_accuracy": "Share of the truth's quantities that the answers have, by value and unit.",
        "number_precision": "Share of the answers' quantities that the truth has, by value and unit.",
    },
    "terms": {
        "term_recall": "Share of the truth's finance terms that the answers have.",
    },
    "choices": {
        "label_accuracy": "Share of answers that name the true label; an unparsable one is wrong.",
        "label_macro_f1": "Mean over labels of F1; an unparsable answer is a miss.",
        "unparsable": "Share of answers that name none of the labels, or several, or refuse.",
        "refusals": "Share of answers that refuse.",
        "empty_answers": "Share of answers without a visible character.",
    },
    "states": {
        "bertscore_precision": "Mean best cosine of an answer's tokens with the truth's (Zhang et al. 2020).",
        "bertscore_recall": "Mean best cosine of a truth's tokens with the answer's (Zhang et al. 2020).",
        "bertscore_f1": "Mean harmonic mean of BERTScore's precision and recall (Zhang et al. 2020).",
        "semantic_similarity": "Mean cosine of the mean token states of answer and truth, -1 to 1.",
    },
}
RIGHT_OR_WRONG: Final = ("exact_match", "label_accuracy", "unparsable", "refusals", "empty_answers")
OF_ALL_ROWS: Final = ("bleu", "chrf", "label_macro_f1")  # no means of row scores
NEEDS: Final = {"bleu": "sacrebleu>=2.5", "chrf": "sacrebleu>=2.5"} | dict.fromkeys(
    ("rouge1", "rouge2", "rouge_l"), "rouge-score>=0.1.2"
)
LOWER_IS_BETTER: Final = ("unparsable", "refusals", "empty_answers")


def written_metrics() -> list[Metric]:
    """Return the descriptions; the kind is `token-states` where the arrays hold those, else `written`."""
    return [
        Metric(
            name=name,
            summary=text,
            target=f"{HERE}.{module}:{name}",
            measures="token-states" if module == "states" else "written",
            greater_is_better=name not in LOWER_IS_BETTER,
            row_scores=None if name in OF_ALL_ROWS else f"{HERE}.{module}:{name}_rows",
            test="mcnemar" if name in RIGHT_OR_WRONG else "permutation",
            requires=(NEEDS[name],) if name in NEEDS else (),
        )
        for module, metrics in METRICS.items()
        for name, text in metrics.items()
    ]
