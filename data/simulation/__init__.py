"""An xView2-format release of procedural scenes whose true change is known."""
