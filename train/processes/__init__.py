"""The processes of one run: replicas, signals, the first process's word, self-tests."""
