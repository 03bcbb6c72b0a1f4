"""Any training script as an experiment: its command line, its process, and the file of metrics that it leaves."""
