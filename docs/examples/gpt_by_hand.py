"""What `gpt.py` does, by hand."""

import math
import os
from pathlib import Path

import torch
from gpt_model import EPOCHS, GPT, data, lossfn

torch.manual_seed(0)
training, validation = data()
model = GPT()
updates = EPOCHS * -(-len(training) // 4)
warm_up = updates // 10
optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)


def rate(update):
    """The learning rate of an update, counted from 0."""
    if update < warm_up:
        return 1e-4 + (3e-3 - 1e-4) * (update / warm_up)
    x = min(1.0, (update - warm_up) / (updates - warm_up))
    return 3e-3 + (1e-4 - 3e-3) * ((1 - math.cos(math.pi * x)) / 2)


def loss_of(batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return lossfn(model(batch[0]), batch[1])


epoch, update, best = 0, 0, math.inf
folder = Path("runs/gpt_by_hand")
folder.mkdir(parents=True, exist_ok=True)
if (folder / "last.pt").exists():
    saved = torch.load(folder / "last.pt")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["random"])
    epoch, update, best = saved["progress"]

while epoch < EPOCHS:
    model.train()
    for i, batch in enumerate(training, start=1):
        (loss_of(batch) / 4).backward()
        if i % 4 == 0 or i == len(training):
            for parameter in model.parameters():
                if i % 4:  # the last update of an epoch has fewer batches
                    parameter.grad *= 4 / (i % 4)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate(update)
            optimizer.step()
            optimizer.zero_grad()
            update += 1
    epoch += 1
    model.eval()
    with torch.no_grad():
        loss = sum(loss_of(batch).item() for batch in validation) / len(validation)
    print(f"epoch {epoch}: validation loss {loss:.4f}")
    if loss < best:
        best = loss
        torch.save(model.state_dict(), folder / "best.pt")
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
    torch.save({**saved, "progress": (epoch, update, best)}, folder / "last.part")
    os.replace(folder / "last.part", folder / "last.pt")
