"""An adapter by its name in a program of plain PEFT: `python plain_peft.py acme/tone@3 BASE NUM_LABELS TEXT...`"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from adapterhub_fin import RegistryChain

reference, base, labels, *texts = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=int(labels))

folder = RegistryChain.configured().path(reference)  # the version's own folder, its files verified
model = PeftModel.from_pretrained(model, folder).eval()

tokenizer = AutoTokenizer.from_pretrained(base)
with torch.inference_mode():
    for row in model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.tolist():
        print(*row)
