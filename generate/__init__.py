"""Post-disaster images from a trained ControlNet: one image or a whole split."""
