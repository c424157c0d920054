"""Coverage measures as a scikit-learn estimator."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import coverage_lab as cl
from coverage_lab.measures import level_measures
from coverage_lab.measures.coverage_features import FEATURES, CoverageFeatures

COUNTS = np.array([[4, 2, 0, 1, 0], [0, 0, 9, 0, 0], [1, 1, 1, 1, 1], [0, 3, 0, 0, 7]])


@parametrize_with_checks([CoverageFeatures()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_passes_the_checks_of_scikit_learn(estimator, check):
    # SciPy's array interface is an experiment that has to be switched on before SciPy is imported.
    if "array_api" in str(check):
        return
    check(estimator)


def test_gives_what_the_measures_of_a_run_give():
    features = CoverageFeatures().fit(COUNTS)
    cells = np.concatenate([np.repeat(np.arange(5), row) for row in COUNTS])
    offsets = np.concatenate([[0], COUNTS.sum(axis=1).cumsum()])
    expected = level_measures(cells, offsets, features.mass_)
    found = features.transform(COUNTS)
    for column, name in enumerate(features.get_feature_names_out()):
        np.testing.assert_allclose(found[:, column], expected[name], err_msg=name)
    assert set(expected) - set(FEATURES) == {"order_z", "return_z", "discount"}


def test_ordinary_traffic_is_the_mean_of_accounts_not_of_prompts():
    # By hand: shares (1, 0) and (0, 1) are worth the same, whoever sent more.
    assert CoverageFeatures().fit([[90, 0], [0, 2]]).mass_.tolist() == [0.5, 0.5]
    # (1, 0) and (½, ½): ¾ and ¼; half of it spread evenly: ⅝ and ⅜.
    assert CoverageFeatures(smoothing=0.5).fit([[8, 0], [1, 1]]).mass_.tolist() == [0.625, 0.375]


def test_sparse_and_dense_counts_are_the_same_and_zeros_that_are_stored_do_not_count():
    stored = csr_array((np.array([4.0, 2, 0, 1]), np.array([0, 1, 2, 3]), np.array([0, 4])), shape=(1, 5))
    features = CoverageFeatures().fit(csr_array(COUNTS))
    np.testing.assert_array_equal(features.transform(stored), features.transform(COUNTS[:1]))


def test_an_empty_account_is_not_defined_and_can_be_filled_in():
    features = CoverageFeatures().fit(COUNTS)
    empty = features.transform(np.zeros((1, 5)))[0]
    assert empty[0] == 0
    assert np.isnan(empty[1:]).all()
    model = make_pipeline(CoverageFeatures(), SimpleImputer(), LogisticRegression())
    assert model.fit(COUNTS, [0, 0, 1, 0]).predict_proba(COUNTS).shape == (4, 2)


@pytest.mark.parametrize("smoothing", [0, -1, 1.5, float("nan")])
def test_refuses_a_smoothing_that_is_no_share(smoothing):
    with pytest.raises(ValueError, match=r"smoothing: expected above 0 and at most 1, got"):
        CoverageFeatures(smoothing=smoothing).fit(COUNTS)


def test_refuses_accounts_without_any_prompt():
    with pytest.raises(ValueError, match="X: expected at least one prompt"):
        CoverageFeatures().fit([[0, 0.2], [0, 0]])


def test_is_a_public_name():
    assert cl.CoverageFeatures is CoverageFeatures
