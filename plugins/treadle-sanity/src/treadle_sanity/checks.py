"""`CHECKS`: what `SanityCheck` looks at by default."""

from __future__ import annotations

from treadle_sanity import batch_checks, optimizer_checks
from treadle_sanity.check import Check

#: The checks that `SanityCheck` makes by default.
CHECKS = (
    Check(
        batch_checks.has_training_data,
        "There are training data",
        True,
        "Pass them to the learner, or to fit:\n    learner.fit(n, (training, validation))",
    ),
    Check(
        batch_checks.has_validation_data,
        "There are validation data",
        False,
        "Pass some, to see how the model does on data that it has not seen:\n"
        "    Learner(..., data=(training, validation))",
    ),
    Check(
        batch_checks.batches_are_pairs,
        "Batches are pairs",
        True,
        "Let the loader yield (inputs, targets), several inputs as a tuple or a mapping:\n    ((x1, x2), ys)",
        supervised=True,
    ),
    Check(
        batch_checks.loss_is_a_number,
        "lossfn(model(xs), ys) is a number",
        True,
        "If batch and model are on two devices, add ToGPU() to the callbacks. Else try it by hand:\n"
        "    xs, ys = next(iter(loader)); lossfn(model(xs), ys)",
        supervised=True,
    ),
    Check(
        batch_checks.values_in_range,
        "Targets are in the loss function's range",
        True,
        "For a binary cross-entropy, scale targets to 0 ... 1. For classes, count from 0, with an output of the last "
        "layer for each class; targets to leave out get the number\n    CrossEntropyLoss(ignore_index=...)",
        supervised=True,
    ),
    Check(
        batch_checks.shapes_agree,
        "Outputs and targets have one shape",
        True,
        "Bring outputs and targets into one shape, or compare all pairs in so many words:\n"
        "    lossfn(yhats.squeeze(1), ys)  # or yhats - ys[None]",
        supervised=True,
    ),
    Check(
        optimizer_checks.holds_some,
        "The optimizer can train the model",
        True,
        "Make it of the parameters of the model that the learner gets:\n"
        "    Learner(model, ..., optimizer=torch.optim.Adam(model.parameters()))",
    ),
    Check(
        optimizer_checks.holds_all,
        "The optimizer holds all parameters",
        False,
        "Pass them to the optimizer, or freeze them:\n    parameter.requires_grad_(False)",
    ),
    Check(
        optimizer_checks.holds_no_other,
        "The optimizer holds no other parameters",
        False,
        "Make the optimizer after the last change to the model:\n    torch.optim.Adam(model.parameters())",
    ),
    Check(
        batch_checks.loss_is_finite,
        "The first loss is finite",
        False,
        "Look for missing values in the data, for a division by zero or a logarithm of zero.",
        supervised=True,
    ),
    Check(
        batch_checks.outputs_are_logits,
        "A cross-entropy gets logits",
        False,
        "Remove the softmax from the end of the model; before nll_loss, replace it by log_softmax.",
        supervised=True,
    ),
    Check(
        batch_checks.last_batch_fits,
        "The last batch is large enough",
        True,
        "Choose another batch_size, or drop the last batch:\n    DataLoader(..., drop_last=True)",
        supervised=True,
    ),
)
