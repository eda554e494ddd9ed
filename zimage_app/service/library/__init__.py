"""What a picture is made with and users keep: models, LoRAs, presets, negative prompts, wildcards."""
