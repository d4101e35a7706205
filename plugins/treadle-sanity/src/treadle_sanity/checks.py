"""`CHECKS`: what `SanityCheck` looks at unless told otherwise."""

from __future__ import annotations

from treadle_sanity import batch_checks, optimizer_checks
from treadle_sanity.check import Check

#: The checks that `SanityCheck` makes by default; the first four are FluxTraining.jl's.
CHECKS = (
    Check(
        lambda learner: "training" in learner.data or "the learner has no data.training.",
        "There are training data",
        True,
        "Learner(..., data=(training, validation)), or learner.fit(n, (training, validation))",
    ),
    Check(
        lambda learner: "validation" in learner.data or "the learner has no data.validation.",
        "There are validation data",
        False,
        "Learner(..., data=(training, validation)) shows how the model does on data that it has not seen.",
    ),
    Check(
        batch_checks.batches_are_pairs,
        "Batches are pairs",
        True,
        "Let the loader yield (inputs, targets), several inputs as a tuple or a mapping: ((x1, x2), ys).",
        supervised=True,
    ),
    Check(
        batch_checks.loss_is_a_number,
        "lossfn(model(xs), ys) is a number",
        True,
        "Try it by hand: xs, ys = next(iter(loader)); lossfn(model(xs), ys). "
        "If batch and model are on two devices, add ToGPU() to the callbacks.",
        supervised=True,
    ),
    Check(
        batch_checks.values_in_range,
        "Targets are in the loss function's range",
        True,
        "For classes, count from 0 and give the last layer an output for each; targets to leave out get "
        "the number CrossEntropyLoss(ignore_index=...). For a binary cross-entropy, scale targets to 0 ... 1.",
        supervised=True,
    ),
    Check(
        batch_checks.shapes_agree,
        "Outputs and targets have one shape",
        True,
        "Give the targets the outputs' shape, ys.unsqueeze(1), or the outputs theirs, model(xs).squeeze(1).",
        supervised=True,
    ),
    Check(
        optimizer_checks.holds_some,
        "The optimizer can train the model",
        True,
        "Make it of the parameters of the model that the learner gets: "
        "Learner(model, ..., optimizer=torch.optim.Adam(model.parameters())).",
    ),
    Check(
        optimizer_checks.holds_all,
        "The optimizer holds all parameters",
        False,
        "Pass them to the optimizer, or freeze them: parameter.requires_grad_(False).",
    ),
    Check(
        optimizer_checks.holds_no_other,
        "The optimizer holds no other parameters",
        False,
        "Make the optimizer after the last change to the model: torch.optim.Adam(model.parameters()).",
    ),
    Check(
        batch_checks.loss_is_finite,
        "The first loss is finite",
        False,
        "Look for missing values in the data, for a division by zero or a logarithm of zero.",
        supervised=True,
    ),
    Check(
        batch_checks.outputs_are_no_probabilities,
        "A cross-entropy gets logits",
        False,
        "Take the softmax off the end of the model; before nll_loss, put log_softmax in its place.",
        supervised=True,
    ),
    Check(
        batch_checks.last_batch_fits,
        "The last batch is large enough",
        True,
        "DataLoader(..., drop_last=True), or another batch_size.",
        supervised=True,
    ),
)
