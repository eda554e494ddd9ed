"""Start-up configuration: flags, environment, settings file, folders, port, Hugging Face Spaces."""
