"""The command line, ``ppl-disentangle``."""
