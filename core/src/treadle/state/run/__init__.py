"""The state of a run: what it consists of, what can be saved, how it is captured and put back."""
