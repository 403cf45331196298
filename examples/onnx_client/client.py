"""Answer texts from a folder of `ahf export --layout onnx`: python client.py FOLDER TEXT..."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers


class Client:
    def __init__(self, folder):
        folder = Path(folder)
        for file in json.loads((folder / "manifest.json").read_text("utf-8"))["files"]:
            if hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() != file["sha256"]:
                raise ValueError(f"{folder / file['path']} is not what was exported: export it again")
        self.form = json.loads((folder / "answer.json").read_text("utf-8"))
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.session = onnxruntime.InferenceSession(folder / "model.onnx")

    def predict(self, texts, features=None):
        encoded, form = self.tokenizer.encode_batch(texts), self.form
        batch = {"input_ids": [e.ids for e in encoded], "attention_mask": [e.attention_mask for e in encoded]}
        batch = {name: np.array(rows, np.int64) for name, rows in batch.items()}
        if "features" in form["inputs"]:  # (texts, numbers), NaN where one is missing
            numbers, mean, sd = np.array(features, float), np.array(form["mean"]), np.array(form["sd"])
            gone = np.isnan(numbers) | (sd == 0)
            scaled = np.where(gone, 0, (numbers - mean) / np.where(sd == 0, 1, sd))
            batch["features"] = np.hstack([scaled, gone]).astype(np.float32)
        outputs = self.session.run(None, batch)[0].astype(float)
        if form["kind"] in ("linear", "vector"):
            return form["centre"] + form["scale"] * outputs[:, 0] if form["kind"] == "linear" else outputs
        labels, powers = np.array(form["labels"]), np.exp(outputs - outputs.max(1, keepdims=True))
        if form["kind"] == "softmax":
            return [(labels[row.argmax()], row) for row in powers / powers.sum(1, keepdims=True)]
        chosen, scores = outputs >= form["limits"], 1 / (1 + np.exp(-outputs))
        return [(labels[yes].tolist(), row) for yes, row in zip(chosen, scores, strict=True)]


if __name__ == "__main__":
    print(*Client(sys.argv[1]).predict(sys.argv[2:]), sep="\n")
