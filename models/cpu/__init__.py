"""What makes networks quick on CPUs: layers, memory, threads."""
