"""Numbers that may be on a device still: one, many in a row, and their mean."""
