"""Labelled synthetic pairs over any region, by a plan: an xView2-format release, made in shards."""
