"""Models from the hubs: lists repositories, downloads and verifies files. The only package that opens connections.

huggingface_hub lists repositories and handles tokens and caches. This package downloads the files itself, because
huggingface_hub discards a partial file when the program ends, and a 10 GB shard is too large to start over.
"""
