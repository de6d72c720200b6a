"""The names that users import from ``ppl_disentangle.inference``."""

import pytest

from ppl_disentangle import inference


def test_every_public_name_is_there():
    assert [name for name in inference.__all__ if not hasattr(inference, name)] == []


def test_the_former_name_of_elbo_per_datum_still_works():
    from ppl_disentangle.inference import evidence

    assert evidence is inference.elbo_per_datum
    assert "evidence" not in inference.__all__


def test_an_unknown_name_is_an_error():
    with pytest.raises(
        AttributeError, match="'ppl_disentangle.inference' has no attribute 'elbos'"
    ):
        inference.elbos  # noqa: B018
