"""Reads untrusted files: regular files only, with size limits; strict YAML; names of model folders."""
