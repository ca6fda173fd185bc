"""A terminal chat that shows the wire beside what is read."""
