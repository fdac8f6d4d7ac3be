"""How good generated images are: metrics against the real post image, and a report to look at."""
