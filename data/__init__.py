"""xBD in, training examples out: reading, tiling, masks, captions, the simulated release, the built dataset."""
