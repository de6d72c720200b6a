"""Where units were intervened on, found by the noise that their labels imply."""

import torch
from torch import nn

from ppl_disentangle import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import EquationSCM, from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import CausalVAE

EQUATIONS = {
    "b": lambda noise, a: 2 * torch.sin(1.5 * a) + 0.3 * noise,
    "c": lambda noise, b: 0.5 * b**2 + 0.3 * noise,
}


# a ──► b ──► c
def test_noise_stands_out_at_the_node_that_was_set_and_not_before_it():
    scm = EquationSCM("a -> b -> c", EQUATIONS, num_data=2000, observation_shape=(8,))
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 6))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 8))
    prior = StructuralPrior(scm.dag)
    story = CausalVAE(prior, Gaussian(encoder), GaussianLearnedScale(decoder), label_scale=0.03)
    labels = scm.labels()
    labelled = with_conditions(
        from_arrays(scm.observations(torch.arange(2000))), labels=labels.values, columns=scm.names
    )
    fit(story, labelled, steps=800, batch_size=128, lr=5e-3, progress=False)

    def noise(values):
        standard = (values - labels.mean) / labels.scale
        with torch.no_grad():
            return torch.cat(list(prior.noise_of(prior.split(standard)).values()), -1).abs()

    usual = noise(scm.values).quantile(0.999, dim=0)
    units = torch.arange(1000)
    for column, node in enumerate(scm.names[1:], start=1):
        far = scm.values[units, column] + torch.where(units % 2 == 0, 2.5, -2.5)
        stands_out = noise(scm.intervene(units, {node: far})) > usual
        assert stands_out[:, column].float().mean() > 0.95
        assert stands_out[:, :column].float().mean() < 0.01
