"""How the processes of a run end alike, whatever is raised on one of them."""
