"""Estimators: tables of runs and probes become exponents with intervals, degrees of freedom and a status.

One module per estimator in `estimators` and `laws`; each registers an `Estimator` in `ESTIMATORS` under the name that a
study's YAML uses.
"""
