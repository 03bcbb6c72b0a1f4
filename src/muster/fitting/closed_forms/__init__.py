"""Formulas that a measurement is held against, each registered in `CLOSED_FORMS`."""
