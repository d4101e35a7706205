"""How a handler gets called: from the order to functions."""
