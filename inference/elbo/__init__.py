"""The parts of every objective: named terms, weights, schedules, estimators, critics."""
