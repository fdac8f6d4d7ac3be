"""Training of the tiny base: the latent-diffusion model that ships with the project."""
