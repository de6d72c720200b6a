"""What all objectives are built from: named terms, weights, schedules, estimators, critics."""
