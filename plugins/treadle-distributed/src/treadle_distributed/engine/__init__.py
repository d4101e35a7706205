"""What the engines have in common: the model, what is made equal, the options, and their place in the order."""
