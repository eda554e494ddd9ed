"""Pictures made on a Ray cluster: ``worker.py`` runs on the cluster's machines, ``runner.py`` in the app."""
