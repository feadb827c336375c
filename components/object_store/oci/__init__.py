"""Repositories of OCI registries, through the plain distribution API."""
