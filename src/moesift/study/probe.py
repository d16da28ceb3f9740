"""A supervised ceiling: what a linear classifier reads in the routers' inputs when it is told the labels."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTY = 1e-3  # inverse strength of the L2 penalty: there are far more features than examples


def held_out(features: np.ndarray, corrupted: np.ndarray, trained: np.ndarray, seed: int) -> np.ndarray:
    """Return the log odds of being clean by classifiers that were not trained on the example that they judge, (N,).

    In two folds: an example is judged by the classifier of the fold that it is not in. Each fold's log odds are
    standardised by those of its training examples, so that both can be ranked together.

    Args:
        features: (N, F).
        corrupted: (N,) bool.
        trained: which examples may train a classifier, (N,) bool: leave a kind or a source out here, to have it judged
            by classifiers that never saw it.
        seed: of the folds.

    Returns:
        nan for the examples of a fold whose training examples are all clean or all corrupted.
    """
    fold = np.random.default_rng(seed).permutation(len(features)) % 2  # (N,)
    found = np.full(len(features), np.nan)
    for judged in (0, 1):
        rows = trained & (fold != judged)
        if len(np.unique(corrupted[rows])) < 2:
            continue
        penalised = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=200)
        classifier = make_pipeline(StandardScaler(), penalised).fit(features[rows], ~corrupted[rows])
        known = classifier.decision_function(features[rows])
        found[fold == judged] = (classifier.decision_function(features[fold == judged]) - known.mean()) / known.std()
    return found
