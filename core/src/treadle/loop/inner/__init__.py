"""What runs inside of the epoch or step that is under way, and what callbacks keep for each of several epochs."""
