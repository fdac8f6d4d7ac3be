"""Captions by a vision-language model, and captions of others, held against the labels."""
