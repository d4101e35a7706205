"""What a callback may see of a learner, and the state of a run."""
