"""Experiments without a training loop: statistics of random networks and of random-matrix products."""
