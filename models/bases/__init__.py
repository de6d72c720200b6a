"""Abstract stories, which the papers of the zoo complete."""
