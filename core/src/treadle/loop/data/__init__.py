"""The data of an epoch, and what a batch of them holds."""
