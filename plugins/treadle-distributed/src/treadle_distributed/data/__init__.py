"""How processes divide the batches of an epoch."""
