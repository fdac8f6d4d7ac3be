"""Tests of a training that is killed, preempted, or resumed with another number of processes."""
