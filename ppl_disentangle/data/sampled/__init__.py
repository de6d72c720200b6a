"""Data sets made from others: pairs, groups, walks, splits, partial labels, interventions."""
