"""Read Financial PhraseBank (Malo et al. 2014) from a local copy; it is never shipped and never downloaded."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from datasets import Dataset

from adapterhub_fin.plugin import BadCorpus, CorpusImplementation, KnownAt, Rows
from adapterhub_fin_plugins.corpora.options import PhraseBankOptions

FILES = {
    50: "Sentences_50Agree.txt",
    66: "Sentences_66Agree.txt",
    75: "Sentences_75Agree.txt",
    "all": "Sentences_AllAgree.txt",
}
LABELS = ("negative", "neutral", "positive")
PUBLISHED = KnownAt(
    at=datetime(2014, 5, 1, 12, tzinfo=UTC),  # the end of the month in the last time zone
    kind="bounded",
    evidence="Malo et al., JASIST 65(4), April 2014; version 1.0 of the file is of 2013-07-19",
)


class PhraseBank(CorpusImplementation):
    """Read sentences and their tone for an investor: repeated sentences once, sentences with two labels not at all."""

    def __init__(self, options: PhraseBankOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a file that can't be read or a line without a sentence and a label."""
        path = self.options.path.expanduser()
        path = path / FILES[self.options.agreement] if path.is_dir() else path
        labels: dict[str, set[str]] = defaultdict(set)
        first: dict[str, int] = {}
        lines = self._lines(path)
        for number, sentence, label in lines:
            first.setdefault(sentence, number)
            labels[sentence].add(label)
        unique = [sentence for sentence in first if len(labels[sentence]) == 1]
        conflicting = sum(1 for _, sentence, _ in lines if len(labels[sentence]) > 1)
        table = Dataset.from_dict(
            {
                "text": unique,
                "label": [next(iter(labels[sentence])) for sentence in unique],
                "origin": [f"{path.name}:{first[sentence]}" for sentence in unique],
            }
        )
        notes = {"repeated": len(lines) - conflicting - len(unique), "conflicting": conflicting}
        return Rows(table, known=PUBLISHED, notes=notes)

    def _lines(self, path: Path) -> list[tuple[int, str, str]]:
        """Return number, sentence and label of every line; older files are latin-1, newer ones UTF-8."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadCorpus(
                f"corpus phrasebank: {path} can't be read ({error.strerror}); give a folder with {path.name}"
            ) from error
        lines = []
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not (line := line.strip()):
                continue
            sentence, separator, label = self._decoded(line, path, number).rpartition("@")
            if not separator or label not in LABELS or not sentence.strip():
                raise BadCorpus(
                    f"corpus phrasebank: {path.name}, line {number} is not 'sentence@label' with {', '.join(LABELS)}"
                )
            lines.append((number, sentence.strip(), label))
        return lines

    def _decoded(self, line: bytes, path: Path, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        if any(
            0x80 <= ord(character) < 0xA0 for character in text
        ):  # control codes, which latin-1 text does not contain
            raise BadCorpus(f"corpus phrasebank: {path.name}, line {number} is neither UTF-8 nor latin-1 text")
        return text
