"""muster: hyperparameter-transfer and scaling exponents, measured reproducibly, held against published claims."""

__version__ = "1.0.0"
