"""Disentangled and causal representations as probabilistic programs."""
from ppl_disentangle.story import GenerativeStory, as_story
