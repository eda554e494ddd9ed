"""The three networks as the engine calls them: transformer, text encoder, VAE, each around its stock module."""
