"""A training loop as one writes it by hand with torch, with a branch for each part. It knows nothing of Treadle.

Where the formulas are from:

- mixed precision, accumulation and clipping: torch's notes, "Automatic Mixed Precision examples";
- accumulation's last, shorter update: the mean of its batches, as of all others;
- `centralise`: Yong et al., https://arxiv.org/abs/2004.01461, equation 1;
- noise: Neelakantan et al., https://arxiv.org/abs/1511.06807, with a constant deviation;
- SAM: Foret et al., https://arxiv.org/abs/2010.01412, equation 2, without running statistics of the second pass;
- EMA and SWA: `torch.optim.swa_utils`, with `update_bn` for SWA;
- Lookahead: Zhang et al., https://arxiv.org/abs/1907.08610, algorithm 1.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from by_hand.recipe import (
    CLIP_NORM,
    CLIP_VALUE,
    EMA_DECAY,
    EPOCHS,
    LOOKAHEAD_ALPHA,
    LOOKAHEAD_K,
    LR_DECAY,
    RHO,
    SIGMA,
    SWA_START,
    UNFREEZE,
    Batches,
    Recipe,
    optimizer_of,
)
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn


def train(recipe: Recipe, model: nn.Sequential, training: Batches, validation: Batches) -> dict[str, Any]:
    """Train a model, and return what it ends with."""
    lossfn = nn.functional.mse_loss
    optimizer = optimizer_of(model.parameters(), adam=recipe.adam)
    scaler = torch.amp.GradScaler("cpu", init_scale=recipe.scale, growth_interval=2, enabled=recipe.precision == "fp16")
    dtype = torch.float16 if recipe.precision == "fp16" else torch.bfloat16
    autocast = torch.autocast("cpu", dtype=dtype, enabled=recipe.precision != "fp32")
    scheduler = LambdaLR(optimizer, lambda t: LR_DECAY**t)
    average = None
    if recipe.average == "ema":
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
        average.update_parameters(model)  # it begins with the initial weights
    slow = [p.detach().clone() for p in model.parameters()]
    n, updates = recipe.accumulate, 0
    weigh = recipe.weigh and n > 1  # each batch by its rows
    losses, rates, validated = [], [], []

    for epoch in range(1, EPOCHS + 1):
        if recipe.unfreeze:
            model[0].requires_grad_(epoch >= UNFREEZE)
        model.train()
        batches: Batches = []  # of the update under way
        for i, (xs, ys) in enumerate(training):
            with autocast:
                loss = lossfn(model(xs), ys)
            losses.append(loss.item())
            rates += scheduler.get_last_lr()
            scaler.scale(loss * len(xs) if weigh else loss / n).backward()
            batches.append((xs, ys))
            k, rows = len(batches), sum(len(xs) for xs, _ in batches)
            if k < n and i + 1 < len(training):
                continue  # the update needs more batches

            if recipe.sam:  # the gradients of the update are computed anew, of perturbed weights
                for p in with_gradients(model):
                    p.grad.div_(scaler.get_scale())  # scaler.unscale_ may be called once for an update
                    p.grad.div_(rows) if weigh else p.grad.mul_(n / k)
                norm = torch.stack([p.grad.norm() for p in with_gradients(model)]).norm()
                finite = norm.isfinite()
                weights = [p.detach().clone() for p in model.parameters()]
                buffers = [b.clone() for b in model.buffers()]
                if finite:
                    with torch.no_grad():
                        for p in with_gradients(model):
                            p.add_(p.grad * (RHO / (norm + 1e-12)))
                optimizer.zero_grad()
                for xs, ys in batches:
                    with autocast:
                        loss = lossfn(model(xs), ys)
                    scaler.scale(loss * len(xs) if weigh else loss / n).backward()
                if not finite:  # the scaler is to skip the update
                    for p in with_gradients(model):
                        p.grad.fill_(torch.nan)
                copy_into(model.parameters(), weights)
                copy_into(model.buffers(), buffers)

            # The gradients become those of the mean of the batches' losses.
            scaler.unscale_(optimizer)
            for p in with_gradients(model):
                p.grad.div_(rows) if weigh else p.grad.mul_(n / k)

            for change in recipe.changes:
                if change == "centralise":
                    for p in with_gradients(model):
                        if p.grad.ndim > 1:
                            p.grad.sub_(p.grad.mean(dim=tuple(range(1, p.grad.ndim)), keepdim=True))
                elif change == "clip":
                    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
                elif change == "noise":
                    for p in with_gradients(model):
                        p.grad.add_(torch.randn_like(p.grad), alpha=SIGMA)
                elif change == "their clip":
                    for p in with_gradients(model):
                        p.grad.clamp_(-CLIP_VALUE, CLIP_VALUE)

            scale = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            batches = []
            if scaler.get_scale() < scale:
                continue  # the scaler has skipped the update
            updates += 1
            if recipe.schedule:
                scheduler.step()
            if recipe.lookahead and updates % LOOKAHEAD_K == 0:
                with torch.no_grad():
                    for slow_p, p in zip(slow, model.parameters(), strict=True):
                        slow_p.lerp_(p, LOOKAHEAD_ALPHA)
                        p.copy_(slow_p)
            if recipe.average == "ema":
                average.update_parameters(model)

        if recipe.average == "swa" and epoch >= SWA_START:
            average = average or AveragedModel(model)
            average.update_parameters(model)
            with torch.random.fork_rng():  # watching changes nothing, also where dropout draws
                update_bn(training, average)

        validated_model = model
        if average is not None:
            validated_model = copy.deepcopy(average.module)
            if recipe.average == "ema":
                copy_into(validated_model.buffers(), [b.clone() for b in model.buffers()])
        validated_model.eval()
        with torch.no_grad(), autocast:
            validated += [lossfn(validated_model(xs), ys).item() for xs, ys in validation]

    return {
        "weights": dict(model.named_parameters()),
        "buffers": dict(model.named_buffers()),
        "optimizer": optimizer.state_dict()["state"],
        "scaler": scaler.state_dict(),
        "average": None if average is None else dict(average.module.named_parameters()),
        "losses": losses,
        "learning rates": rates if recipe.schedule else [],
        "validated": validated,
        "updates": updates,
        "next random number": torch.rand(1),
    }


def with_gradients(model: nn.Module) -> list[Any]:
    """The parameters that have a gradient."""
    return [p for p in model.parameters() if p.grad is not None]


@torch.no_grad()
def copy_into(tensors: Any, values: list[torch.Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
