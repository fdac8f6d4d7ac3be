"""What is left of a training that was killed, preempted, or continued by another number of processes."""
