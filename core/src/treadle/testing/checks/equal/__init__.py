"""Is a training the same with and without it, after a checkpoint, in threads, in another order?"""
