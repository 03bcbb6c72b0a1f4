"""One module an estimator, each registered in `ESTIMATORS`."""
