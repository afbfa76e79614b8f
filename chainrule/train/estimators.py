"""`Classifier` and `Regressor`: networks for tables and arrays, scikit-learn's way."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chainrule.data import Table, TargetEncoder, check_arrays, check_features, split
from chainrule.errors import DataError
from chainrule.lens.interpret.view import View
from chainrule.tensor.locate import Explained
from chainrule.train.metrics import accuracy, r2
from chainrule.train.settings import Settings
from chainrule.train.tabular import TableNetwork

FEWEST_FOR_VALIDATION = 40
"""With fewer rows all are trained on: a handful of validation rows says nothing."""


class _Estimator(Explained):
    """What both estimators share; see `Classifier`."""

    _task: ClassVar[Any]
    _kind: ClassVar[str]

    def __init__(
        self,
        hidden: Any = (256, 128),
        *,
        activation: str = "relu",
        dropout: float | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.15,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.seed = seed
        self.verbose = verbose

    # What scikit-learn asks of an estimator

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change the constructor's arguments; DataError for one that is not there."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise DataError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}. Valid "
                    f"parameters are: {sorted(known)}."
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(defaults[name].default)
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        classifier = self._kind == "classifier"
        return Tags(
            estimator_type=self._kind,
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            classifier_tags=ClassifierTags() if classifier else None,
            regressor_tags=None if classifier else RegressorTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    # Learning and using

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows and their targets; gives the estimator back.

        Args:
            X: (rows, features) numbers, or a data frame or `data.Table`, whose text columns are
                encoded as categories and whose missing cells are filled in and marked.
            y: (rows,) labels or numbers.

        Raises:
            DataError: what cannot be learnt from, with its row and column.
        """
        settings = Settings(
            **{f.name: getattr(self, f.name) for f in fields(Settings) if hasattr(self, f.name)}
        )
        share = self.validation_fraction
        if not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise DataError(f"validation_fraction is {share!r}; it is from 0 up to 1")
        columns, y = self._columns_and_target(X, y)
        target = TargetEncoder(self._task).decide(y)
        codes = np.unique(y, return_inverse=True)[1] if self._task == "classes" else None
        few = len(y) < FEWEST_FOR_VALIDATION or not share
        parts = split(
            len(y),
            stratify=codes,
            fractions=(1.0, 0.0, 0.0) if few else (1 - share, share, 0.0),
            seed=settings.seed,
        )
        self.network_ = TableNetwork.train(
            columns,
            y,
            target,
            train=parts.train,
            validation=parts.validation,
            settings=settings,
            quiet=not self.verbose,
        )
        self.history_ = self.network_.history
        self.n_iter_ = len(self.history_.epochs) if self.history_ else 0
        return self

    def _columns_and_target(self, X: Any, y: Any) -> tuple[Table, np.ndarray]:
        for name in ("feature_names_in_", "n_features_in_"):
            vars(self).pop(name, None)
        if _is_frame(X):
            columns = Table.of(X)
            _, y = check_arrays(np.zeros((len(columns), 1)), y, estimator=type(self).__name__)
            self.feature_names_in_ = np.array(columns.names, dtype=object)
        else:
            values, y = check_arrays(X, y, estimator=type(self).__name__)
            columns = Table.from_arrays(values)
        self.n_features_in_ = len(columns.names)
        return columns, y

    def _table(self, X: Any) -> Table:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(self)
        if _is_frame(X):
            return Table.of(X)
        values = check_features(X, estimator=type(self).__name__, n_features=self.n_features_in_)
        names = getattr(self, "feature_names_in_", None)
        return Table.from_arrays(values, None if names is None else list(names))

    def _outputs(self, X: Any) -> np.ndarray:
        table = self._table(X)
        outputs, _ = self.network_.outputs(table)
        return outputs

    def __interpreted__(self) -> View:
        """What `interpret` looks through."""
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(self)
        return self.network_.viewed(self._table)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each row, or the predicted number: (rows,)."""
        outputs = self._outputs(X)
        return self.network_.labels(outputs)

    def save(self, path: str | Path) -> None:
        """Write the network with its encoders to a safetensors file."""
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(self)
        self.network_.save(path)


class Classifier(_Estimator):
    """A dense network that tells classes apart, with scikit-learn's interface.

    Columns are standardised or encoded by what the training rows show. Part of the rows is held
    back: half of it stops early and keeps the best weights; on the other half nothing is chosen,
    and it calibrates `predict_proba` and `predict_set`.

    Args:
        hidden: the sizes of the hidden layers.
        activation: "relu", "gelu", "silu" or "tanh".
        dropout: the probability with which a hidden unit is dropped in training; None is 0.3, and
            0 for a Regressor.
        lr: the peak of the learning rate.
        weight_decay: AdamW's.
        label_smoothing: how much of each label is spread over all classes in training.
        batch_size: rows for each update; None chooses by the number of rows.
        epochs: passes over the rows, at most; None chooses by the number of rows.
        patience: epochs without a smaller validation loss after which training stops; None is a
            third of all.
        validation_fraction: the share of rows held back.
        seed: the same seed gives the same network.
        verbose: whether progress is shown.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: how many columns it was fitted with.
        history_: what training went through, a `History`.
        network_: the encoders and the model, a `TableNetwork`.

    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.2]] * 10)
    >>> clf = Classifier(hidden=(16,), epochs=100).fit(X, ["a", "b", "a", "b"] * 10)
    >>> clf.predict([[0.0, 1.0], [1.0, 0.0]])
    array(['a', 'b'], dtype='<U1')
    """

    _task = "classes"
    _kind = "classifier"
    _estimator_type = "classifier"

    def __init__(
        self,
        hidden: Any = (256, 128),
        *,
        activation: str = "relu",
        dropout: float | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.1,
        batch_size: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.15,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden,
            activation=activation,
            dropout=dropout,
            lr=lr,
            weight_decay=weight_decay,
            batch_size=batch_size,
            epochs=epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            seed=seed,
            verbose=verbose,
        )
        self.label_smoothing = label_smoothing

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted: the columns of `predict_proba`."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError("classes_ is known after fit(X, y)")
        return self.network_.target.classes

    def predict_proba(self, X: Any) -> np.ndarray:
        """A probability for each class: (rows, classes), each row adding up to 1.

        Calibrated on rows held back, by the method that `prob.recalibrate` chooses; where there are
        too few of them (or where that is no better for sure) as the network says it.
        """
        outputs = self._outputs(X)
        return self.network_.probabilities(outputs)

    def predict_set(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Which classes cannot be ruled out: booleans (rows, classes), in the order of `classes_`.

        Over rows like those it was fitted with, the true class is in the set with the probability
        `coverage` at least, whatever the network is worth (split conformal prediction, score 1 − p;
        see `prob.ConformalClassifier`). A network that is right more often than `coverage` must
        leave some sets empty: such rows are like none that it answered rightly.

        Raises:
            DataError: too few rows were held back: a coverage of 0.9 takes 9 to calibrate with,
                0.95 takes 19. By default that is so below some 120 and 250 rows in all.

        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 2))
        >>> y = np.where(X[:, 0] + 0.5 * rng.normal(size=400) > 0, "yes", "no")
        >>> clf = Classifier(hidden=(16,), epochs=20).fit(X, y)
        >>> [clf.classes_[row].tolist() for row in clf.predict_set([[2.0, 0.0], [0.0, 0.0]], 0.95)]
        [['yes'], ['no', 'yes']]
        """
        table = self._table(X)
        return self.network_.sets(table, coverage).members

    def score(self, X: Any, y: Any) -> float:
        """The accuracy: the share of rows whose label is right."""
        return accuracy(np.asarray(y), self.predict(X))


class Regressor(_Estimator):
    """A dense network that predicts a real number, with scikit-learn's interface.

    The target is standardised inside. Arguments and attributes are `Classifier`'s, but for labels.

    >>> X = np.linspace(-1, 1, 80)[:, None]
    >>> reg = Regressor(hidden=(16,), lr=0.02, epochs=40).fit(X, 3 * X[:, 0] + 100)
    >>> float(reg.predict([[0.5]])[0].round())
    102.0
    """

    _task = "real"
    _kind = "regressor"
    _estimator_type = "regressor"

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Between which numbers the target lies: (rows, 2), in its own unit.

        Over rows like those it was fitted with, it lies inside with the probability `coverage` at
        least, whatever the network is worth (split conformal prediction, score |y − ŷ|/σ with the σ
        of `predict_std`; see `prob.ConformalRegressor`).

        Raises:
            DataError: too few rows were held back: a coverage of 0.9 takes 9 to calibrate with,
                0.95 takes 19. By default that is so below some 120 and 250 rows in all.

        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, (400, 1))
        >>> reg = Regressor(hidden=(16,), epochs=60).fit(X, 3 * X[:, 0] + rng.normal(0, 1, 400))
        >>> low, high = reg.predict_interval([[0.0]], coverage=0.9)[0]
        >>> bool(-2.5 < low < -1 and 1 < high < 2.5)  # the true ones are ±1.64
        True
        """
        table = self._table(X)
        return np.asarray(self.network_.intervals(table, coverage))

    def predict_std(self, X: Any) -> np.ndarray:
        """How far the target lies from the prediction: (rows,), a standard deviation in its unit.

        √(σ² + Var f): the noise σ, one number for all rows, and what the training rows leave open
        about the last layer's weights in this row (Laplace's approximation, `LastLayer`), both
        times the factor that makes them fit rows held back. It is no promise; `predict_interval`
        is.

        Raises:
            DataError: too few rows were held back for that.
        """
        table = self._table(X)
        aleatoric, epistemic = self.network_.uncertainty(table)
        return np.hypot(aleatoric, epistemic)

    def score(self, X: Any, y: Any) -> float:
        """The coefficient of determination R²: 1 is perfect, 0 as good as the mean."""
        return r2(np.asarray(y, dtype=np.float64), self.predict(X))


def _is_frame(X: Any) -> bool:
    return not isinstance(X, np.ndarray) and (
        isinstance(X, (Table, dict)) or hasattr(X, "__arrow_c_stream__") or hasattr(X, "isna")
    )


def _not_fitted(estimator: Any) -> Exception:
    """The error of an estimator that has learnt nothing yet.

    Where scikit-learn is loaded, its users know this error by its class.
    """
    message = (
        f"This {type(estimator).__name__} instance is not fitted yet: call fit(X, y) before using "
        "it."
    )
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    if theirs is None:
        return DataError(message)
    return type("NotFittedError", (DataError, theirs), {})(message)
