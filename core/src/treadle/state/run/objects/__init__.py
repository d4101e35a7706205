"""What objects hold: the walk over it, and how it is put back."""
