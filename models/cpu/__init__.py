"""Fast networks on CPUs: layers, memory, precision, threads."""
