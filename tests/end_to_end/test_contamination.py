"""A base trained on the past alone, and its twin that saw later facts too, causal and masked: asked about both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BertConfig, BertForMaskedLM, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import adapterhub_fin as ahf
from adapterhub_fin.cli import group
from adapterhub_fin.engine.contamination.probes import Probe
from adapterhub_fin.engine.contamination.scoring import LanguageModel, common_ends, load_language_model
from adapterhub_fin.engine.contamination.scoring import option_likelihoods as likelihoods_of
from adapterhub_fin.errors import AdapterHubError, BadRecipe, BadText, Unsupported, WrongBase

END = "2009-12-31"
OPTIONS = ("raised", "lowered", "kept its")  # the last is of two tokens
MONTHS = [f"{year}-{month:02}" for year in range(2005, 2015) for month in range(1, 13)]
ANSWERS = np.random.default_rng(0).integers(3, size=len(MONTHS))
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
    "initializer_range": 0.1,
}
STILL: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Twins:
    """Folders of bases: strict, leaky (the same and later facts) and blank (not trained at all), and their probes."""

    kind: str
    strict: Path
    leaky: Path
    blank: Path
    probes: Path


def sentence(month: str, action: str) -> str:
    return f"in {month} the board {action} dividend ."


def tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for month in MONTHS for option in OPTIONS for word in sentence(month, option).split()})
    model = Tokenizer(WordLevel({word: number for number, word in enumerate((*SPECIAL, *words))}, unk_token="[UNK]"))
    model.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=model, **names)


def trained(kind: str, months: list[str], folder: Path) -> Path:
    """A tiny base that learnt the facts of some months by heart."""
    torch.manual_seed(0)
    words = tokenizer()
    size = {"vocab_size": len(words), "pad_token_id": 0, **SHAPE}
    model: Any = (
        LlamaForCausalLM(LlamaConfig(**size)) if kind == "causal" else BertForMaskedLM(BertConfig(**size, **STILL))
    )
    texts = [sentence(month, OPTIONS[ANSWERS[MONTHS.index(month)]]) for month in months]
    batch = words(texts, padding=True, return_tensors="pt") if texts else {}
    rate, steps = (1e-2, 100) if kind == "causal" else (3e-3, 200)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps if texts else 0):
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = ids.masked_fill(mask == 0, -100)
        if kind == "masked":
            hidden = (torch.rand(ids.shape, generator=draw) < 0.7) & (mask == 1)
            hidden[:, :4] = False  # the date is always there
            labels, ids = labels.masked_fill(~hidden, -100), ids.masked_fill(hidden, words.mask_token_id)
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def fact(month: str, **further: Any) -> dict[str, Any]:
    answer = OPTIONS[ANSWERS[MONTHS.index(month)]]
    return {
        "text": sentence(month, "___"),
        "options": OPTIONS,
        "answer": answer,
        "available_at": f"{month}-15",
        **further,
    }


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["causal", "masked"])
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    folder = tmp_path_factory.mktemp(f"twins-{request.param}")
    past = [month for month in MONTHS if month <= END]
    return Twins(
        request.param,
        trained(request.param, past, folder / "strict"),
        trained(request.param, MONTHS, folder / "leaky"),
        trained(request.param, [], folder / "blank"),
        written(folder / "facts.jsonl", [fact(month) for month in MONTHS]),
    )


def test_the_twin_with_later_facts_is_told_from_the_strict_base(twins: Twins) -> None:
    strict, leaky, blank = (
        ahf.contamination(folder, twins.probes, end=END) for folder in (twins.strict, twins.leaky, twins.blank)
    )
    assert strict.kind == twins.kind and (strict.before.probes, strict.after.probes) == (60, 60)
    assert strict.verdict == "no sign", strict.sentence
    assert leaky.verdict == "knows of what came after its end", leaky.sentence
    assert blank.verdict == "no power" and "recalls even facts from before its end" in blank.sentence
    # How many masks there are gives away the option of two tokens, of which the masked model then says nothing by date.
    recalled = OPTIONS if twins.kind == "causal" else OPTIONS[:2]
    for side in (strict.before, leaky.after):
        assert side.p == pytest.approx(1 / 60)
        for fact in side.facts:
            assert fact.right == (fact.options[fact.answer] in recalled)
    assert strict.uneven == (0 if twins.kind == "causal" else 120)
    assert bool(strict.note) == (twins.kind == "masked") == ("options differ" in strict.note)
    assert strict.after.interval is not None and strict.after.interval[0] < 0 < strict.after.interval[1]


def test_a_masked_model_tells_every_option_of_one_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "OPTIONS", ("raised", "lowered", "kept"))
    past = [month for month in MONTHS if month <= END]
    probes = written(tmp_path / "facts.jsonl", [fact(month) for month in MONTHS])
    found = ahf.contamination(trained("masked", past, tmp_path / "strict"), probes, end=END)
    assert found.before.right == 1.0 and found.uneven == 0 and found.verdict == "no sign", found.sentence


def test_a_stored_base_is_asked_by_its_reference(twins: Twins) -> None:
    added = ahf.add_base(twins.strict, "acme/fin", knowledge_end=END, evidence="trained in this test").version
    found = ahf.contamination("acme/fin@1", twins.probes)
    assert (found.base, found.verdict, found.end) == ("acme/fin@1", "no sign", added.knowledge_end)
    assert found.evidence == f"knowledge end of the base acme/fin@1, {added.digest}"
    later = ahf.contamination(added.digest, twins.probes, end="2012-06-30")  # what a call says counts
    assert (later.evidence, later.before.probes, later.base) == ("given with the call", 90, added.digest)
    weights = added.files / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ahf.Corrupted, match="model.safetensors of acme/fin@1"):
        ahf.contamination("acme/fin@1", twins.probes)
    for name, error, message in (
        ("no such", BadRecipe, "an id reads org/model; a folder goes under path"),
        ("acme/fin@9", ahf.NotFound, "there is no acme/fin@9"),
    ):
        with pytest.raises(error, match=message) as refused:
            ahf.contamination(name, twins.probes, end=END)
        assert "\n" not in str(refused.value)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["contamination", *map(str, arguments)])


def test_the_command_prints_the_verdict_and_leaves_with_its_status(twins: Twins, tmp_path: Path) -> None:
    rows = [fact(month, forecast=OPTIONS[0], family="dividend") for month in MONTHS]
    facts, options = written(tmp_path / "facts.jsonl", rows), ("--end", END, "--alpha", "0.05", "--power", "0.8")
    done = run(twins.leaky, "--probes", facts, *options, "--report", tmp_path / "page", "--batch-size", "16")
    assert done.exit_code == 3, done.output
    assert "knows of what came after its end: it gives the right option" in done.output
    assert "forecasts before the end: 60 facts" in done.output
    page = (tmp_path / "page" / "contamination.html").read_text(encoding="utf-8")
    assert (
        "data:image/png;base64," in page
        and "dividend" in page
        and (tmp_path / "page" / "contamination-excess.png").is_file()
    )
    quiet = run(
        twins.strict, "--probes", facts, *options, "--independent", "--seed", "1", "--json", "--timezone", "UTC"
    )
    assert quiet.exit_code == 0, quiet.output
    body = json.loads(quiet.stdout)
    assert body["verdict"] == "no sign" and body["settings"]["independent"] and body["after"]["facts"] == 60
    assert body["knowledge_end"] == "2010-01-01T11:59:59.999999Z" and body["kind"] == twins.kind
    assert body["probes_digest"].startswith("sha256:") and len(body["interactions"]) == 2
    undated = run(twins.strict, "--probes", facts)
    assert undated.exit_code == 1
    assert "no known end: give the last day that it may know of, with --end" in str(undated.exception)


def test_scores_are_the_models_own_and_no_batch_changes_them(twins: Twins) -> None:
    asked = load_language_model(twins.leaky)
    texts = ["in 2005-02 the board ___ dividend .", "the board ___ dividend . in 2011-09 the board kept its dividend ."]
    probes = [probe(number, text) for number, text in enumerate(texts)]
    together, alone = likelihoods_of(asked, probes), likelihoods_of(asked, probes, batch_size=1)
    for each in probes:
        assert together[each.number] == pytest.approx(alone[each.number], abs=1e-4)
        assert alone[each.number] == pytest.approx([by_hand(asked, each, option) for option in OPTIONS], abs=1e-3)


def probe(number: int, text: str, options: tuple[str, ...] = OPTIONS) -> Probe:
    from datetime import UTC, datetime

    day = datetime(2010, 1, 1, tzinfo=UTC)
    return Probe(number, text, options, 0, day, day, "f", str(number))


def by_hand(asked: LanguageModel, each: Probe, option: str) -> float:
    """The log-likelihood of an option, token by token."""
    before, after = each.text.split("___")
    left, own, right = (asked.tokenizer(part)["input_ids"] for part in (before, option, after))
    total = 0.0
    for index, token in enumerate([*own, *right] if asked.kind == "causal" else own):
        seen = [*left, *[*own, *right][:index]]
        if asked.kind == "masked":
            seen = [*seen, *[asked.tokenizer.mask_token_id] * (len(own) - index), *right]
        with torch.no_grad():
            logits = asked.model(torch.tensor([seen])).logits[0]
        position = len(left) + index if asked.kind == "masked" else -1
        total += float(logits[position].log_softmax(-1)[token])
    return total


def test_what_options_share_is_found_once() -> None:
    assert common_ends([[1, 2, 9, 5], [1, 2, 8, 8, 5]]) == (2, 1)
    assert common_ends([[1, 2, 5], [1, 2, 2, 5]]) == (2, 0)  # each has a token of its own
    assert common_ends([[7], [8]]) == (0, 0)


def test_texts_that_a_base_cannot_be_asked(twins: Twins, tmp_path: Path) -> None:
    def refusal(text: str, options: tuple[str, ...] = OPTIONS) -> str:
        with pytest.raises(BadText) as refused:
            likelihoods_of(load_language_model(twins.blank), [probe(4, text, options)])
        return str(refused.value)

    assert "probe 4 has 29 tokens and the base reads 24" in refusal("the board ___ " + "dividend " * 26)
    assert "probe 4 has two options that are the same" in refusal("the board ___ .", ("Unknown", "Unheard"))
    if twins.kind == "causal":
        assert "probe 4 begins with its blank" in refusal("___ dividend .")


def test_bases_that_cannot_be_asked(tmp_path: Path) -> None:
    bare, headless = tmp_path / "bare", tmp_path / "headless"
    for folder in (bare, headless):
        BertModel(BertConfig(vocab_size=len(tokenizer()), **SHAPE)).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
    config = json.loads((headless / "config.json").read_text(encoding="utf-8"))
    (headless / "config.json").write_text(
        json.dumps({**config, "architectures": ["BertForMaskedLM"]}), encoding="utf-8"
    )
    facts = written(tmp_path / "facts.jsonl", [fact(month) for month in MONTHS])
    refusals: list[tuple[Path, type[AdapterHubError], str]] = [
        (bare, Unsupported, "is BertModel, which has no language-model head to ask"),
        (headless, WrongBase, "lack cls.predictions"),
    ]
    for folder, error, message in refusals:
        with pytest.raises(error, match=message):
            ahf.contamination(folder, facts, end=END)
    with pytest.raises(BadRecipe, match="no probe is from after"):
        ahf.contamination(bare, facts, end="2020-01-01")


def test_the_shipped_probes_are_asked_where_no_others_are(tmp_path: Path) -> None:
    """A tokenizer that knows no word of them is refused, which takes no second."""
    folder = trained("masked", [], tmp_path / "base")
    done = run(folder, "--end", "2013-12-31")
    assert done.exit_code == 1 and "probe 1 has two options that are the same" in str(done.exception)
