"""What can be said of a pair of images: no-data, cloud, misregistration, duplicates, leaks."""
