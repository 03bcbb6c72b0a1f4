"""The best hyperparameter of one shape, with its uncertainty."""
