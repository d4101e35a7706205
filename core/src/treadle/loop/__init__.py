"""What happens in a fit, in which order."""
