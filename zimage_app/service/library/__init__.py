"""The libraries that requests draw on: models, LoRAs, upscalers, presets, negative prompts, wildcards."""
