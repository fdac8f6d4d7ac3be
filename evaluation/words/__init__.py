"""The word study: do maps of damage words lie on the damage?"""
