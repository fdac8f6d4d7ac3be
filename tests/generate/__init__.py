"""Tests of generate/."""
