"""DiffusionSat's networks and pipeline, with metadata in natural units."""
