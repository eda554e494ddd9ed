"""The networks: transformer, text encoder, VAE and ESRGAN upscalers. ``networks.py`` builds the first three."""
