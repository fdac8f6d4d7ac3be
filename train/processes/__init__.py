"""The processes of one run: replicas, signals, results of the first process, self-tests."""
