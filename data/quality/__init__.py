"""The quality of a pair of images: no-data, cloud, misregistration, duplicates, leaks."""
