"""Models from the hubs: what a repository holds, and getting it here whole. The only place that opens connections.

huggingface_hub lists repositories and knows tokens and caches. The bytes are fetched here, because it throws a file's
beginning away when the program ends, and a shard of ten gigabytes is too much to begin anew.
"""
