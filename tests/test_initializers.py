"""Initialisers: Keras's formulas, configs and seeds; moments within their sampling error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastconv import _random, initializers

NAMES = [
    "Zeros", "Ones", "Constant", "RandomUniform", "RandomNormal", "TruncatedNormal", "VarianceScaling",
    "GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "Orthogonal", "Identity",
]  # fmt: skip
RANDOM = [name for name in NAMES if name not in ("Zeros", "Ones", "Constant", "Identity")]
# (scale, n) of variance scale / n for a kernel (5, 5, 6, 16): fan_in 150, fan_out 400.
VARIANCES = {
    "GlorotUniform": 2 / 550, "GlorotNormal": 2 / 550, "HeUniform": 2 / 150, "HeNormal": 2 / 150,
    "LecunUniform": 1 / 150, "LecunNormal": 1 / 150, "VarianceScaling": 1 / 150,
}  # fmt: skip
# What Keras 3.15 writes, beside the seed.
CONFIGS = {
    "RandomUniform": {"minval": -0.05, "maxval": 0.05},
    "RandomNormal": {"mean": 0.0, "stddev": 0.05},
    "TruncatedNormal": {"mean": 0.0, "stddev": 0.05},
    "VarianceScaling": {
        "scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal", "input_axes": None, "output_axes": None,
    },
    "Orthogonal": {"gain": 1.0},
    **{
        name: {"input_axes": None, "output_axes": None}
        for name in ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal")
    },
}  # fmt: skip


def sampling_error(count: int, kurtosis: float = 3.0) -> float:
    """Five standard deviations of a sample variance, relative to it."""
    return 5 * math.sqrt((kurtosis - 1) / count)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_repeatability(name: str, dtype: str) -> None:
    initializer = getattr(initializers, name)()
    first, second = initializer((4, 3), dtype), initializer((4, 3), dtype)
    assert first.shape == (4, 3)
    assert first.dtype == dtype
    assert np.array_equal(first, second)  # one object, the same numbers each time, as in Keras
    assert initializer((4, 3)).dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_config_round_trip(name: str) -> None:
    initializer = getattr(initializers, name)()
    config = initializers.serialize(initializer)
    assert config["module"] == "keras.initializers"
    assert config["class_name"] == name
    assert config["registered_name"] is None
    again = initializers.deserialize(config)
    assert type(again) is type(initializer)
    assert again.get_config() == initializer.get_config()


@pytest.mark.parametrize("name", RANDOM)
def test_configs_are_those_of_keras(name: str) -> None:
    assert getattr(initializers, name)().get_config() == {"seed": None, **CONFIGS[name]}


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name: str) -> None:
    make = getattr(initializers, name)
    values = make(seed=3)((20, 20))
    assert np.array_equal(values, make(seed=3)((20, 20)))
    assert not np.array_equal(values, make(seed=4)((20, 20)))
    assert not np.array_equal(make()((20, 20)), make()((20, 20)))  # two unseeded ones differ
    _random.set_seed(11)
    first = make()((20, 20))
    _random.set_seed(11)
    assert np.array_equal(first, make()((20, 20)))


@pytest.mark.parametrize("name", RANDOM)
def test_float32_values_are_the_rounded_float64_values(name: str) -> None:
    initializer = getattr(initializers, name)(seed=5)
    assert np.array_equal(initializer((7, 5)), initializer((7, 5), "float64").astype("float32"))


def test_fans() -> None:
    assert initializers.compute_fans(()) == (1, 1)
    assert initializers.compute_fans((7,)) == (7, 7)
    assert initializers.compute_fans((84, 10)) == (84, 10)
    assert initializers.compute_fans((5, 5, 6, 16)) == (150, 400)
    assert initializers.compute_fans((2, 3, 4), input_axes=[0], output_axes=[1, 2]) == (2, 12)


@pytest.mark.parametrize("name", VARIANCES)
def test_variance(name: str) -> None:
    draws = np.concatenate([getattr(initializers, name)(seed=s)((5, 5, 6, 16), "float64").ravel() for s in range(40)])
    assert abs(draws.var() / VARIANCES[name] - 1) <= sampling_error(draws.size)
    assert abs(draws.mean()) <= 5 * math.sqrt(VARIANCES[name] / draws.size)
    if "Uniform" in name:
        limit = math.sqrt(3 * VARIANCES[name])
        assert limit * 0.999 <= np.abs(draws).max() <= limit


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal", "untruncated_normal", "normal"])
def test_variance_scaling_modes(mode: str, distribution: str) -> None:
    values = initializers.VarianceScaling(3.0, mode, distribution, seed=1)((300, 700), "float64")
    fan = {"fan_in": 300, "fan_out": 700, "fan_avg": 500}[mode]
    assert abs(values.var() * fan / 3 - 1) <= sampling_error(values.size)


def test_truncated_normal_is_cut_at_two_deviations_and_smooth_there() -> None:
    values = initializers.TruncatedNormal(1.0, 0.5, seed=2)((200_000,), "float64")
    assert np.abs(values - 1).max() <= 1.0
    # Resampling, not clipping: nothing piles up at the ends, and the variance is that of the cut distribution.
    assert np.unique(values).size > 199_000
    assert abs(values.var() / (0.5 * 0.87962566103423978) ** 2 - 1) <= sampling_error(values.size)


@pytest.mark.parametrize("shape", [(6, 6), (3, 9), (9, 3), (3, 3, 2, 5), (2, 2, 1, 9)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = initializers.Orthogonal(gain=2.0, seed=1)(shape, "float64").reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    bound = 4 * len(gram) * max(matrix.shape) * np.finfo(float).eps
    assert not np.abs(gram - 4 * np.eye(len(gram))).max() > 4 * bound


def test_identity_and_constant() -> None:
    assert np.array_equal(initializers.Identity(3.0)((2, 3)), [[3, 0, 0], [0, 3, 0]])
    assert initializers.deserialize(initializers.serialize(initializers.Identity(3.0))).gain == 3.0
    assert np.array_equal(initializers.Constant(0.25)((2,)), [0.25, 0.25])
    assert np.array_equal(initializers.Constant([1.0, 2.0])((2, 2)), [[1, 2], [1, 2]])


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("glorot_uniform", "GlorotUniform"), ("GlorotUniform", "GlorotUniform"), ("he_normal", "HeNormal"),
        ("zeros", "Zeros"), ("truncated_normal", "TruncatedNormal"), ("uniform", "RandomUniform"),
        ("normal", "RandomNormal"), (initializers.Ones, "Ones"), (initializers.Ones(), "Ones"),
        ({"class_name": "HeUniform", "config": {"seed": 3}}, "HeUniform"),
    ],
)  # fmt: skip
def test_get(identifier: object, name: str) -> None:
    assert type(initializers.get(identifier)).__name__ == name


def test_get_takes_callables_arrays_and_none() -> None:
    def own(shape, dtype=None):
        return np.full(shape, 7, dtype)

    assert initializers.get(own) is own
    assert initializers.get(None) is None
    values = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(initializers.get(values)((2, 3)), values)
    with pytest.raises(ValueError, match=r"Expected `shape` to be \(3, 2\).*has \(2, 3\)"):
        initializers.get(values)((3, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.get("foo"), r"Could not interpret initializer identifier: 'foo'. Known:.*he_normal"),
        (lambda: initializers.get(3), "Could not interpret initializer identifier: 3"),
        (lambda: initializers.get({"class_name": "os.system", "config": {}}), "Could not interpret initializer"),
        (lambda: initializers.deserialize({"config": {}}), "Could not interpret initializer"),
        (lambda: initializers.VarianceScaling(0), "`scale`: expected a positive float. Received: scale=0"),
        (lambda: initializers.VarianceScaling(mode="in"), "mode must be one of 'fan_in', 'fan_out', 'fan_avg'"),
        (lambda: initializers.VarianceScaling(distribution="gauss"), "distribution must be one of 'uniform'"),
        (lambda: initializers.HeNormal(seed=1.5), "`seed` must be a non-negative integer or None. Received: seed=1.5"),
        (lambda: initializers.HeNormal(seed=-1), "`seed` must be a non-negative integer"),
        (lambda: initializers.Orthogonal()((3,)), r"at least two-dimensional.*shape=\(3,\) of rank 1"),
        (lambda: initializers.Identity()((3, 3, 3)), r"only be used for 2D.*shape=\(3, 3, 3\) of rank 3"),
        (lambda: initializers.serialize(lambda shape, dtype=None: 0), "cannot be serialized"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
