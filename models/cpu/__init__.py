"""Fast networks on CPUs: layers, memory, threads."""
