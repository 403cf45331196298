"""The GPT written out in examples/gpt: Transformers computes the same from its folder, and adapters train on it."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import math
import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin import cli

ROOT = Path(__file__).parents[2]
EXAMPLE, GUIDE = ROOT / "examples" / "gpt", ROOT / "docs" / "how-to" / "own_base.md"
BLOCK = re.compile(r"```(sh|python|yaml)\n(.*?)```", re.DOTALL)
STEPS = {"train.py": "12", "switches.py": "1"}
MODULES = ("gpt", "texts", "folder")  # in the order in which they import each other
CASES = int(os.environ.get("AHF_CASES", "8"))
TEXTS = ["Operating profit rose 12.5% to EUR 3.4 million.", "Zürich 日本", "a", "Shares fell. " * 3]


@dataclass(frozen=True)
class Reader:
    """A folder in which every command of the two pages was run, and what they printed."""

    folder: Path
    printed: str


cases = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """Import the modules of the example as its reader does, from their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in MODULES}
        yield SimpleNamespace(**modules)
        for name in MODULES:
            del sys.modules[name]


@pytest.fixture(scope="module")
def reader(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Run what the README and the guide say, each line once, in a folder of the reader's own; fewer steps suffice."""
    folder, printed = tmp_path_factory.mktemp("reader"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        patch.setenv("AHF_HOME", str(folder / "registry"))
        patch.setenv("AHF_CACHE", str(folder / "cache"))
        patch.syspath_prepend(folder)
        for path in EXAMPLE.glob("*.*"):
            shutil.copy(path, folder)
        blocks = [block for page in (EXAMPLE / "README.md", GUIDE) for block in BLOCK.findall(page.read_text("utf-8"))]
        lines = [line for language, text in blocks if language == "sh" for line in text.splitlines()]
        for words in dict.fromkeys(tuple(shlex.split(line, comments=True)) for line in lines):
            run_line(words, patch)
        for text in [text for language, text in blocks if language == "python"]:
            exec(compile(text, "<block>", "exec"), {})
        yield Reader(folder, printed.getvalue())


def run_line(words: tuple[str, ...], patch: pytest.MonkeyPatch) -> None:
    if words[0] == "python":
        patch.setattr(sys, "argv", [*words[1:], STEPS[words[1]]])
        runpy.run_path(words[1], run_name="__main__")
        return
    assert words[0] == "ahf", words
    short = ["--set", "training.max_steps=2", "--set", "corpus.rows=60"] if words[1] == "train" else []
    with pytest.raises(SystemExit) as leave:
        cli.main([*words[1:], *short])
    assert not leave.value.code, words


def theirs(model: Any, example: Any) -> Any:
    """Return Transformers' own Llama with the weights of the model."""
    config = LlamaConfig(**example.folder.config(model.shape))
    llama = LlamaForCausalLM(config).eval()
    named = {name if name.startswith("lm_head") else f"model.{name}": each for name, each in model.state_dict().items()}
    llama.load_state_dict(named)
    return llama


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 4))
    return {
        "vocab": draw(st.integers(4, 40)),
        "width": 2 * heads * draw(st.integers(1, 5)),
        "heads": heads,
        "layers": draw(st.integers(1, 3)),
        "hidden": draw(st.integers(1, 40)),
        "tied": draw(st.booleans()),
    }


def drawn(example: Any, shape: dict[str, Any], seed: int, **switches: Any) -> Any:
    """Return a model whose weights are large enough that its attention is far from even."""
    torch.manual_seed(seed)
    model = example.gpt.GPT(example.gpt.Shape(**shape, **switches)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return model


def ids_of(shape: dict[str, Any], rows: int, tokens: int) -> torch.Tensor:
    return torch.randint(1, shape["vocab"], (rows, tokens))


@cases
@given(shape=shapes(), rows=st.integers(1, 3), tokens=st.integers(1, 40), seed=st.integers(0, 999))
def test_logits_and_loss_are_those_of_transformers(
    example: Any, shape: dict[str, Any], rows: int, tokens: int, seed: int
) -> None:
    model = drawn(example, shape, seed)
    llama, ids = theirs(model, example), ids_of(shape, rows, tokens + 1)
    with torch.inference_mode():
        answer = llama(ids, labels=ids)
        torch.testing.assert_close(model(ids), answer.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(example.gpt.loss_of(model, ids), answer.loss, atol=1e-5, rtol=1e-5)


@cases
@given(shape=shapes(), rows=st.integers(1, 3), tokens=st.integers(1, 40), seed=st.integers(0, 999))
def test_attention_written_out_gives_the_loss_and_gradients_of_the_fused_one(
    example: Any, shape: dict[str, Any], rows: int, tokens: int, seed: int
) -> None:
    results = []
    for attend in (example.gpt.fused, example.gpt.written_out):
        model = drawn(example, shape, seed, attend=attend)
        loss = example.gpt.loss_of(model, ids_of(shape, rows, tokens + 1))
        loss.backward()
        results.append((loss, [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)


@cases
@given(
    shape=shapes(),
    tokens=st.integers(1, 12),
    most=st.integers(0, 30),
    temperature=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 999),
)
def test_a_cache_changes_no_token_and_transformers_writes_the_same(
    example: Any, shape: dict[str, Any], tokens: int, most: int, temperature: float, seed: int
) -> None:
    model = drawn(example, shape, seed)
    prompt, written = ids_of(shape, 1, tokens)[0], []
    for cached in (True, False):
        torch.manual_seed(seed)
        written.append(example.gpt.generate(model, prompt, most, temperature, cached).tolist())
    assert written[0] == written[1] and written[0][:tokens] == prompt.tolist()
    assert example.gpt.END not in written[0][tokens:-1] and len(written[0]) <= tokens + most
    if most and not temperature:
        llama = theirs(model, example)
        mask = torch.ones_like(prompt)[None]
        answer = llama.generate(prompt[None], attention_mask=mask, max_new_tokens=most, do_sample=False)
        assert written[0] == answer[0].tolist()


def test_a_cache_is_read_in_pieces_of_any_length(example: Any) -> None:
    model = drawn(example, {"vocab": 30, "width": 16, "heads": 2}, 0)
    ids = ids_of({"vocab": 30}, 2, 12)
    cache = example.gpt.Cache()
    with torch.inference_mode():
        pieces = [model(piece, cache) for piece in ids.split([5, 1, 4, 2], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), atol=1e-5, rtol=1e-5)
    assert cache.tokens == 12


def test_packed_blocks_predict_each_token_once_and_padding_counts_for_nothing(example: Any) -> None:
    tokenizer = example.texts.train_tokenizer(TEXTS, vocab=300)
    joined = [token for ids in example.texts.encoded(tokenizer, TEXTS) for token in ids]
    starts, ends = joined.count(example.gpt.START), joined.count(example.gpt.END)
    assert starts == ends == len(TEXTS) and joined[-1] == example.gpt.END
    blocks = example.texts.packed(tokenizer, TEXTS, 8)
    assert blocks[:, 1:].flatten().tolist() == joined[1 : 8 * ((len(joined) - 1) // 8) + 1]
    assert blocks[0, 0] == joined[0] == example.gpt.START and blocks[1:, 0].tolist() == blocks[:-1, -1].tolist()
    with pytest.raises(ValueError, match="don't fill a block"):
        example.texts.packed(tokenizer, TEXTS, len(joined))

    model = drawn(example, {"vocab": 300, "width": 16, "heads": 2}, 0)
    rows = example.texts.padded(tokenizer, TEXTS, 80)
    alone = [torch.tensor([ids]) for ids in example.texts.encoded(tokenizer, TEXTS)]
    with torch.inference_mode():
        sums = sum(example.gpt.loss_of(model, ids) * (ids.shape[1] - 1) for ids in alone)
        expected = sums / sum(ids.shape[1] - 1 for ids in alone)
        torch.testing.assert_close(example.gpt.loss_of(model, rows), expected)
    assert example.texts.padded(tokenizer, TEXTS, 3).shape == (4, 4), "long texts are cut off"


def test_a_width_that_heads_do_not_divide_is_refused(example: Any) -> None:
    with pytest.raises(ValueError, match="4 heads need a width that 8 divides, unlike 100"):
        example.gpt.Shape(vocab=10, width=100, heads=4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_is_read_by_transformers_and_by_the_example(example: Any, tied: bool, tmp_path: Path) -> None:
    tokenizer = example.texts.train_tokenizer(TEXTS, vocab=300)
    model = drawn(example, {"vocab": tokenizer.get_vocab_size(), "width": 16, "heads": 2, "tied": tied}, 1)
    for name in ("first", "second"):
        example.folder.save(model, tokenizer, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    again, _ = example.folder.load(tmp_path / "first")
    llama, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "first", output_loading_info=True)
    assert type(llama) is LlamaForCausalLM and not any(loading.values()), loading
    ids = ids_of({"vocab": 300}, 2, 9)
    with torch.inference_mode():
        assert torch.equal(again(ids), model(ids))
        torch.testing.assert_close(model(ids), llama(ids).logits, atol=1e-5, rtol=1e-5)
    assert (llama.lm_head.weight is llama.model.embed_tokens.weight) is tied


def test_what_it_trained_is_a_base_for_transformers_and_for_adapters(example: Any, reader: Reader) -> None:
    folder = reader.folder / "gpt-2018"
    model, tokenizer = example.folder.load(folder)
    llama, their_tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    special = (their_tokenizer.pad_token_id, their_tokenizer.bos_token_id, their_tokenizer.eos_token_id)
    assert special == (example.gpt.PAD, example.gpt.START, example.gpt.END)
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert their_tokenizer(text)["input_ids"] == ids and ids[0] == example.gpt.START
        assert their_tokenizer.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids) == text
        tokens = torch.tensor(ids)
        with torch.inference_mode():
            torch.testing.assert_close(model(tokens[None]), llama(tokens[None]).logits, atol=1e-5, rtol=0)
        written = example.gpt.generate(model, tokens, 12).tolist()
        answer = llama.generate(**their_tokenizer(text, return_tensors="pt"), max_new_tokens=12, do_sample=False)
        assert written == answer[0].tolist() == example.gpt.generate(model, tokens, 12, cached=False).tolist()


def test_training_lowers_the_loss_and_each_switch_is_measured(reader: Reader) -> None:
    losses = [float(loss) for loss in re.findall(r"^step +\d+  loss ([\d.]+)", reader.printed, re.MULTILINE)]
    assert len(losses) == 2 and losses[0] == pytest.approx(math.log(1024), abs=0.1) and losses[1] < losses[0] - 0.5
    rows = dict(re.findall(r"^(\S.*?)  +[\d,]+ +([\d.]+) +[\d,]+$", reader.printed, re.MULTILINE))
    assert list(rows) == ["as it stands", "padded, not packed", "attention written out", "embedding not tied"]
    assert rows["as it stands"] == rows["attention written out"] != rows["padded, not packed"]


def test_the_guide_and_the_example_have_one_recipe() -> None:
    blocks = [text for language, text in BLOCK.findall(GUIDE.read_text("utf-8")) if language == "yaml"]
    assert [yaml.safe_load(text) for text in blocks] == [yaml.safe_load((EXAMPLE / "tone.yaml").read_text("utf-8"))]


def test_an_adapter_is_loaded_by_its_name_and_dated_by_its_base(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHF_CACHE", str(reader.folder / "cache"))  # where its base is remembered
    registry = ahf.Registry(reader.folder / "registry")
    folder, stored = (registry.resolve(f"learner/tone@{number}").manifest for number in (1, 2))
    for manifest in (folder, stored):
        [base] = [each for each in manifest.knowledge.inputs if each.input == "base"]
        assert (base.kind, base.at[:13]) == ("asserted", "2019-01-01T11"), "the day ends last west of everywhere"
    assert folder.base.repository == "learner/gpt-2018"
    assert stored.recipe is not None and stored.recipe["base"] == {"version": "learner/gpt@1"}
    labels = {answer.label for answer in ahf.load("learner/tone@2", registry=registry).predict(TEXTS)}
    assert labels <= {"negative", "neutral", "positive"}


def test_the_readable_files_need_nothing_of_ours_and_are_short() -> None:
    for name in MODULES:
        source = (EXAMPLE / f"{name}.py").read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(source)))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        outside = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - set(MODULES)
        assert "torch" in modules or name == "folder"
        assert outside <= {"torch", "tokenizers", "safetensors"}, name
        assert len(source.splitlines()) <= 210, name
