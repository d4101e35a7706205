"""The data of a run: the state that they offer, and whether an epoch of them can be repeated."""
