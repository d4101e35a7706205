"""Train a small transformer: four batches an update, clipped, cosine with warm-up, bfloat16, the best kept, resumed."""

import torch
from gpt_model import EPOCHS, GPT, data, lossfn
from treadle import Learner
from treadle_amp import MixedPrecision
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_optim import Accumulate, ClipGradients
from treadle_schedule import LearningRate, Ramp, Scheduler, Sequence, cosine

torch.manual_seed(0)
training, validation = data()
model = GPT()
updates = EPOCHS * -(-len(training) // 4)
warm_up = updates // 10
rate = Sequence((Ramp(1e-4, 3e-3, warm_up), warm_up), (Ramp(3e-3, 1e-4, updates - warm_up, cosine), updates))
callbacks = [
    Accumulate(4),
    MixedPrecision("bf16"),
    ClipGradients(norm=1.0),
    Scheduler({LearningRate: rate}),
    Checkpointer("runs/gpt", keep_top_k=1),
]
optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
learner = Learner(model, lossfn, data=(training, validation), optimizer=optimizer, callbacks=callbacks)
if checkpoints("runs/gpt"):
    resume(learner, "runs/gpt")
learner.fit(EPOCHS)
