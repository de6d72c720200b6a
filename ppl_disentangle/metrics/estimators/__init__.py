"""Estimators that metrics share: information, predictors, checks of arrays, samples of grids."""
