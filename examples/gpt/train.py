"""Train a small GPT on headlines until a day, and save it as a folder: python train.py FOLDER [STEPS]"""

import sys
from datetime import UTC, date, datetime
from pathlib import Path

import torch
from folder import save
from gpt import GPT, Shape, generate, loss_of
from texts import packed, train_tokenizer

from adapterhub_fin_plugins.corpora.headlines_text import generate as headlines

folder, steps = Path(sys.argv[1]), int((*sys.argv, 800)[2])
torch.manual_seed(0)

until = datetime(2018, 12, 31, 23, 59, tzinfo=UTC)
rows = list(headlines(12_000, 0, date(2010, 1, 4), date(2019, 12, 31)))  # invented ones, each with its date
past = [row.text for row in rows if row.available_at <= until]
future = [row.text for row in rows if row.available_at > until]

tokenizer = train_tokenizer(past, vocab=1024)  # on the past alone: a vocabulary knows things too
model = GPT(Shape(vocab=tokenizer.get_vocab_size()))
blocks, later = (packed(tokenizer, texts, model.shape.context) for texts in (past, future))

optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.1)
for step in range(steps):
    loss = loss_of(model, blocks[torch.randint(len(blocks), (16,))])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    rate.step()
    if step % 100 == 0 or step == steps - 1:
        with torch.inference_mode():
            print(f"step {step:3}  loss {loss:.3f}  of the year after {loss_of(model, later[:128]):.3f}", flush=True)

save(model, tokenizer, folder)
for prompt in ("Operating profit", "The board of"):
    ids = generate(model, torch.tensor(tokenizer.encode(prompt).ids), most=60, temperature=0.7)
    print(tokenizer.decode(ids.tolist()))
