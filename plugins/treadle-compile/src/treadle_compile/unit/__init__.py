"""The unit of a compiled step: what is compiled, how it is called, and what of it gets into the learner when."""
