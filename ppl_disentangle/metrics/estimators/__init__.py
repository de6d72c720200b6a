"""Estimators that several metrics share: information, predictors, checks of arrays, draws from grids."""
