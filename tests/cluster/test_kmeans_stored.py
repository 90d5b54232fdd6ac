"""A fit as plain arrays: restored it labels with the same bits, damaged it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.cluster.kmeans import KMeans
from gpuseg.cluster.predicting import Fitted
from gpuseg.core.weights import WeightMode
from gpuseg.customers.scaling import ExactScaler
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import InputError

DRAW = np.random.default_rng(3)
ROWS = DRAW.normal(size=(200, 3)) + np.array([0.0, 10.0, 1e6])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("weights", [None, "whole", "real"])
def test_restored_arrays_label_with_the_same_bits(kind, weights):
    rows = ROWS.astype(kind)
    weight = {None: None, "whole": np.arange(200) % 3, "real": DRAW.random(200)}[weights]
    estimator = KMeans(4, random_state=1).fit(rows, sample_weight=weight)
    stored = {name: np.array(array) for name, array in estimator.to_arrays().items()}
    restored = Fitted.from_arrays(stored, None, choose_engine())
    assert np.array_equal(restored.labels(rows), estimator.labels_)
    squared = restored.squared_distances(rows)
    assert (squared.dtype, squared.shape) == (np.float32, (4, 200))
    assert np.array_equal(squared.argmin(axis=0), estimator.labels_)
    assert np.array_equal(np.sqrt(squared).T.astype(kind), estimator.transform(rows))
    wanted = {None: WeightMode.NONE, "whole": WeightMode.INTEGER, "real": WeightMode.REAL}[weights]
    assert restored.layout.scales.mode is wanted
    again = restored.to_arrays()
    assert all(np.array_equal(again[name], stored[name]) for name in stored)


@pytest.mark.parametrize("name", list(KMeans(2, random_state=0).fit(ROWS).to_arrays()))
@pytest.mark.parametrize("damage", ["gone", "shape", "kind"])
def test_damaged_arrays_are_refused(name, damage):
    stored = KMeans(2, random_state=0).fit(ROWS).to_arrays()
    array = stored.pop(name)
    if damage == "shape":
        stored[name] = np.concatenate([array, array], axis=-1)
    elif damage == "kind":
        stored[name] = array.astype(np.complex128)
    with pytest.raises(InputError, match=r"the array '.*' is .*; it has to be"):
        Fitted.from_arrays(stored, None, choose_engine())


def test_an_unknown_mode_of_weights_is_refused():
    stored = KMeans(2, random_state=0).fit(ROWS).to_arrays()
    with pytest.raises(ValueError, match="9 is not a valid WeightMode"):
        Fitted.from_arrays(stored | {"layout.mode": np.array([9])}, None, choose_engine())


def test_a_restored_scaler_scales_to_the_same_bits():
    scaler = ExactScaler().fit(ROWS)
    restored = ExactScaler.from_arrays(scaler.to_arrays(), ["a", "b", "c"], 200)
    assert np.array_equal(restored.transform(ROWS), scaler.transform(ROWS))
    assert (restored.n_samples_seen_, restored.n_features_in_) == (200, 3)
    assert list(restored.get_feature_names_out()) == ["a", "b", "c"]


@pytest.mark.parametrize("change", [{"mean": None}, {"scale": np.ones(2)}, {"scale": np.ones(3, np.float32)}])
def test_a_damaged_scale_is_refused(change):
    arrays = {**ExactScaler().fit(ROWS).to_arrays(), **change}
    with pytest.raises(InputError, match="it has to be float64 of shape"):
        ExactScaler.from_arrays({name: a for name, a in arrays.items() if a is not None}, ["a", "b", "c"], 1)
