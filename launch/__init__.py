"""How runs start: the `pre2post` command and the demo."""
