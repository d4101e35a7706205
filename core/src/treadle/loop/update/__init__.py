"""From a loss to changed parameters: the update, what it is of, and which gradients belong to it."""
