"""Scaling laws as data: one module per law, each registering a `Law`, and the one solver that fits them all."""
