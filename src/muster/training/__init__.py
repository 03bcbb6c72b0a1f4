"""The stacked training engine."""
