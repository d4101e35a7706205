"""Callbacks of a special part: guards, observers, and those that compute gradients anew."""
