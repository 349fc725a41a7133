"""One file a dataset, each defining ``DATASET``: see ``helpers.registry``."""
