"""A study: a grid of runs, their results as one data set, and the analysis of them."""
