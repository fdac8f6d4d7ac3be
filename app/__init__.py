"""The app: a page in the browser that makes images with a checkpoint, as `pre2post generate` does."""
