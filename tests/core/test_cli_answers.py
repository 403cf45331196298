"""Run the commands that predict, generate, embed and evaluate, for every kind of head."""

from __future__ import annotations

import json
import os
import signal
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.evaluation import linear
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.forked import run_forked, start_forked

Ahf = Callable[..., tuple[int, str, str]]
TEXTS = ["Arlo: profit rose.", "Brent: profit fell."]


def on_a_terminal(arguments: list[str], stop_after: bytes | None = None) -> tuple[int, bytes]:
    """What `ahf` writes on a terminal, and its exit status; Ctrl-C comes once it has written `stop_after`."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    path = os.ttyname(theirs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        child = start_forked("-m", "adapterhub_fin.cli", *arguments, stdout=path, stderr=path)
    os.close(theirs)
    drawn = b""
    with suppress(OSError):  # how a terminal ends
        while chunk := os.read(ours, 65536):
            drawn += chunk
            if stop_after is not None and stop_after in drawn:
                stop_after = None
                child.send_signal(signal.SIGINT)
    os.close(ours)
    return child.wait(), drawn


def test_predict_shows_a_number_or_a_likelihood(run_ahf: Ahf, notes: Run, encoder: Path) -> None:
    ahf.train(
        name="acme/number",
        base={"id": "acme/tiny", "path": str(encoder)},
        head="regress",
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "max_length": 32},
    )
    for name, base, columns in (
        ("acme/number", ["--base", str(encoder)], ["value"]),
        ("acme/notes", [], ["loss", "perplexity", "tokens"]),
    ):
        code, out, err = run_ahf("predict", name, *TEXTS, *base)
        heading, *lines = out.splitlines()
        assert (code, heading.split()) == (0, [*columns, "text"]) and f"{name}@1" in err
        answers = json.loads(run_ahf("predict", name, *TEXTS, *base, "--json")[1])["predictions"]
        assert [set(answer) for answer in answers] == [{"text", *columns}] * 2
        for line, answer, text in zip(lines, answers, TEXTS, strict=True):
            assert line.endswith(text)
            shown = [float(cell) for cell in line.removesuffix(text).split()]
            assert shown == pytest.approx([answer[column] for column in columns], rel=1e-3)


def test_progress_is_drawn_for_long_inputs_on_a_terminal_alone(stocked: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS * 20))
    long = ["predict", "acme/tone", "--file", str(tmp_path / "texts.txt"), "--batch-size", "4"]
    code, drawn = on_a_terminal(long)
    assert code == 0 and b"answering" in drawn and b"40/40" in drawn
    code, drawn = on_a_terminal(["predict", "acme/tone", *TEXTS])
    assert code == 0 and b"answering" not in drawn
    piped = run_forked("-m", "adapterhub_fin.cli", *long)
    assert piped.returncode == 0 and piped.stderr == "acme/tone@1\n" and len(piped.stdout.splitlines()) == 41


def test_embed_takes_its_options(run_ahf: Ahf, stocked: Path, trained: Run) -> None:
    asked = ["--pooling", "max", "--layer", "1", "--normalize"]
    lines = run_ahf("embed", "acme/tone", *TEXTS, *asked)[1].splitlines()
    found = np.array([json.loads(line)["embedding"] for line in lines], dtype=np.float32)
    assert np.array_equal(found, trained.adapter.embed(TEXTS, pooling="max", layer=1, normalize=True))
    assert not np.allclose(found, trained.adapter.embed(TEXTS))
    shown = " ".join(run_ahf("embed", "--help")[1].split())
    for field in Embedding.model_fields.values():
        assert " ".join(str(field.description).split()[:4]) in shown
    code, _, err = run_ahf("embed", "acme/tone", *TEXTS, "--pooling", "median")
    assert code == 2 and "'mean', 'first', 'last', 'max'" in err
    code, _, err = run_ahf("embed", "acme/tone", *TEXTS, "--layer", "9")
    assert code == 1 and "there is no layer 9" in err and err.count("\n") == 1


def test_fold_answers_the_same_without_an_adapter(run_ahf: Ahf, notes: Run, tmp_path: Path) -> None:
    folded, plain = (
        json.loads(run_ahf("predict", "acme/tone", *TEXTS, "--json", *fold)[1])["predictions"]
        for fold in (["--fold"], [])
    )
    assert [answer["label"] for answer in folded] == [answer["label"] for answer in plain]
    assert [answer["score"] for answer in folded] == pytest.approx([answer["score"] for answer in plain], rel=1e-4)
    vectors = [run_ahf("embed", "acme/tone", TEXTS[0], *fold)[1] for fold in (["--fold"], [])]
    assert np.allclose(*(json.loads(each)["embedding"] for each in vectors), rtol=1e-4, atol=1e-5)
    written = [
        run_ahf("generate", "acme/notes", "Arlo:", "--max-new-tokens", "4", *fold)[1] for fold in (["--fold"], [])
    ]
    assert written[0] == written[1]
    table = ["--table", "news.csv", "--as-of-row", "--time", "day", "--out", "f.csv"]
    (tmp_path / "news.csv").write_text("day,text\n2020-01-01,Arlo\n")
    table[1] = str(tmp_path / "news.csv")
    code, _, err = run_ahf("embed", "acme/tone", *table, "--fold")
    assert code == 2 and "--lock nor --fold" in " ".join(err.split())


def test_fold_refuses_in_one_line_what_it_can_not_add(run_ahf: Ahf, stocked: Path, encoder: Path) -> None:
    ahf.train(
        name="acme/dora",
        base={"path": str(encoder)},
        method={"name": "lora", "rank": 2, "dora": True},
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "max_length": 32},
    )
    code, out, err = run_ahf("predict", "acme/dora", *TEXTS, "--fold")
    assert (code, out) == (1, "") and "acme/dora@1 can't be folded into its base" in err and err.count("\n") == 1
    assert run_ahf("predict", "acme/dora", *TEXTS)[0] == 0


def test_evaluate_measures_records_and_show_prints_it(run_ahf: Ahf, stocked: Path, trained: Run, encoder: Path) -> None:
    code, out, err = run_ahf("evaluate", "acme/tone", "--from-recipe", "--resamples", "50")
    assert (
        code == 0 and "recorded          as event 2" in out and "seen in training  no" in out and "acme/tone@1" in err
    )
    for name, value in trained.metrics.items():
        assert f"{name}" in out and f"{value:.4f}" in out
    document = json.loads(
        run_ahf("evaluate", "acme/tone@1", tiny_corpus(), "--split", "all", "--resamples", "50", "--json")[1]
    )
    assert (document["event"], document["rows"], document["seen_in_training"]) == (3, 48, True)
    assert document["digest"] == trained.version.digest and set(document["intervals"]) == set(trained.metrics)
    out = run_ahf("evaluate", "acme/tone", "--from-recipe", "--split", "train", "--resamples", "5", "--no-record")[1]
    assert "OF THESE ROWS: the metrics are not those of unseen text" in out and "recorded          no" in out
    events = json.loads(run_ahf("show", "acme/tone", "--json")[1])["events"]
    assert [event["number"] for event in events] == [1, 2, 3]  # training wrote the first, its history
    shown = run_ahf("show", "acme/tone")[1]
    assert "contract-tone  test " in shown and "all (SEEN IN TRAINING)" in shown
    run_ahf("evaluate", "acme/tone", "headlines", "--set", "rows=90", "--split", "all", "--resamples", "5")
    assert "headlines" in run_ahf("show", "acme/tone")[1] and "may be seen" not in run_ahf("show", "acme/tone")[1]
    ahf.Registry().add_event("acme/tone", "evaluation", {"corpus": "desk", "split": "test", "metrics": {"hits": 3}})
    assert "test (may be seen in training)  hits" in run_ahf("show", "acme/tone")[1]
    low, high = events[1]["intervals"]["accuracy"]
    assert f"{low:.4f} to {high:.4f}" in shown


def test_evaluate_refuses_in_one_line(run_ahf: Ahf, stocked: Path) -> None:
    assert run_ahf("evaluate", "acme/tone")[0] == 2
    assert run_ahf("evaluate", "acme/tone", "headlines", "--from-recipe")[0] == 2
    for slip, said in (
        (["headlnes"], "headlines"),
        (["headlines", "--set", "rowss=90"], "did you mean rows"),
        (["headlines", "--set", "rows=90", "--set", "splitter.by=moon"], "splitter.by"),
    ):
        code, _, err = run_ahf("evaluate", "acme/tone", *slip)
        assert code == 1 and said in err and err.count("\n") == 1
    assert [event["kind"] for event in ahf.Registry().events("acme/tone")] == ["history"]


def test_measuring_draws_its_progress_on_a_terminal_and_not_in_a_pipe(stocked: Path) -> None:
    arguments = ["evaluate", "acme/tone", "headlines", "--set", "rows=90", "--split", "all", "--resamples", "300"]
    code, drawn = on_a_terminal(arguments)
    assert code == 0 and b"measuring" in drawn and b"resampling" in drawn
    assert run_forked("-m", "adapterhub_fin.cli", *arguments).stderr == "acme/tone@1\n"


def test_generate_prints_whole_answers_in_a_pipe(run_ahf: Ahf, notes: Run, tmp_path: Path) -> None:
    asked = ["--max-new-tokens", "8"]
    expected = notes.adapter.generate(TEXTS, max_new_tokens=8)
    code, out, err = run_ahf("generate", "acme/notes", *TEXTS, *asked)
    assert (code, out, err) == (0, "\n\n".join(expected) + "\n", "acme/notes@1\n")
    (tmp_path / "prompts.txt").write_text("\n".join(TEXTS))
    told = json.loads(run_ahf("generate", "acme/notes", "--file", str(tmp_path / "prompts.txt"), *asked, "--json")[1])
    assert told["answers"] == [{"prompt": p, "text": t} for p, t in zip(TEXTS, expected, strict=True)]
    assert told["options"]["max_new_tokens"] == 8 and told["digest"] == notes.version.digest
    talk = [{"role": "system", "content": "You write notes."}, {"role": "user", "content": TEXTS[0]}]
    for flags, messages in ((["--chat"], talk[1:]), (["--system", "You write notes."], talk)):
        out = run_ahf("generate", "acme/notes", TEXTS[0], *asked, *flags)[1]
        assert out == notes.adapter.generate([messages], max_new_tokens=8)[0] + "\n"


def test_generate_refuses_in_one_line(run_ahf: Ahf, notes: Run) -> None:
    for arguments, said in (
        (["acme/notes", "Profit", "--top-p", "2"], "generate: top_p"),
        (["acme/notes", "Profit", "--max-new-tokens", "500"], "shorten the prompt or max_new_tokens"),
        (["acme/tone", "Profit"], "can't generate text"),
    ):
        code, _, err = run_ahf("generate", *arguments)
        assert code == 1 and said in err.splitlines()[-1]
    assert run_ahf("generate", "acme/notes")[0] == 2
    assert "--repetition-penalty" in run_ahf("generate", "--help")[1]


def test_generate_streams_on_a_terminal_and_stops_cleanly_at_ctrl_c(
    stocked: Path, decoder: Path, tmp_path: Path
) -> None:
    """A base with positions for minutes of writing, so that only Ctrl-C can end it."""
    base = tmp_path / "endless"
    base.mkdir()
    for path in decoder.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1_000_000}))
    run = ahf.train(
        name="acme/endless",
        base={"path": str(base)},
        head="causal-lm",
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "max_length": 32},
    )
    prompt = next(text for text in TEXTS if len(run.adapter.generate([text], max_new_tokens=400)[0]) > 200)
    whole = run.adapter.generate([prompt], max_new_tokens=12)[0].strip()
    code, drawn = on_a_terminal(["generate", "acme/endless", prompt, "--max-new-tokens", "12"])
    assert code == 0 and whole.encode()[:4] in drawn
    code, drawn = on_a_terminal(
        ["generate", "acme/endless", prompt, "--max-new-tokens", "900000"], stop_after=whole.encode()[:4]
    )
    assert code == 130 and drawn.endswith(b"\r\nstopped\r\n") and b"Traceback" not in drawn


def test_compare_prints_a_verdict_and_its_tables(run_ahf: Ahf, stocked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PACKAGE", "sklearn")
    asked = ["compare", "acme/tone", "base", "--resamples", "100", "--rounds", "100"]
    code, _, err = run_ahf(*asked, "--split", "all")
    assert code == 1 and "saw " in err and "--drop-seen" in err and err.count("\n") == 1
    code, out, err = run_ahf(*asked, "--all-metrics", "--by", "label")
    assert code == 0, err
    assert "acme/tone@1" in out.split(".")[0] and "It is not known whether base saw" in out
    assert "McNemar" in out and "label = " in out and "parameters" in out and "logistic regression" in out
    document = json.loads(run_ahf(*asked, "--by", "label", "--json")[1])
    assert document["verdicts"][0] in out and [side["name"] for side in document["sides"]] == ["acme/tone@1", "base"]
    assert {each["metric"] for each in document["differences"]} == {"accuracy", "macro_f1", "mcc"}
    code, _, err = run_ahf("compare", "acme/tone", "base", "--corpus", "headlines", "--set", "rowss=9")
    assert code == 1 and "did you mean rows" in err


def test_probe_prints_its_tables_and_writes_vectors(run_ahf: Ahf, stocked: Path, tmp_path: Path) -> None:
    asked = ["--split", "all", "--resamples", "20", "--vectors", str(tmp_path / "last.npz")]
    code, out, err = run_ahf("probe", "acme/tone", *asked)
    assert code == 0 and err.startswith("acme/tone@1\nwarning: the version was trained on the text of ")
    assert "accuracy of base" in out and "CKA, debiased" in out and "the folds staying as they are" in out
    assert (tmp_path / "last.npz").is_file()
    page = ["--report", str(tmp_path / "page")]
    document = json.loads(run_ahf("probe", "acme/tone@1", *asked, *page, "--json")[1])
    assert Path(document["page"]).is_file()
    assert document["reference"] == "acme/tone@1" and document["rows"] == 48 and len(document["probes"]) == 3
    assert f"{document['probes'][2]['difference']['value']:+.4f}" in out
    assert f"{document['cka_debiased'][2][2]:.3f}" in out
    code, _, err = run_ahf("probe", "acme/tone", "--corpus", "headlines", "--set", "rowss=9")
    assert code == 1 and "did you mean rows" in err and err.count("\n") == 1


def test_forgetting_prints_before_and_after(run_ahf: Ahf, notes: Run) -> None:
    asked = [tiny_corpus(), "--split", "all", "--sample", "12", "--resamples", "20"]
    code, out, err = run_ahf("forgetting", "acme/notes", *asked)
    assert code == 0 and err.startswith("acme/notes@1\n") and "its base" in out and "relative rise" in out
    document = json.loads(run_ahf("forgetting", "acme/notes", *asked, "--json")[1])
    assert f"{document['before']:.4f}" in out and f"{document['change']:+.4f}" in out
    assert document["rows"] == 12 and document["digest"] == notes.version.digest
    run_ahf("forgetting", "acme/notes", *asked, "--record")
    shown = run_ahf("show", "acme/notes")[1]
    assert "perplexity before training" in shown and f"{document['after']:.4f}" in shown
    code, _, err = run_ahf("forgetting", "acme/notes", "headlines", "--set", "rowss=9")
    assert code == 1 and "did you mean rows" in err and err.count("\n") == 1
