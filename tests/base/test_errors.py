import pytest

from regard.base.errors import ConfigError, DataError, ModelError, RegardError, did_you_mean


@pytest.mark.parametrize("error", [ConfigError, DataError, ModelError])
def test_every_error_is_a_regard_error_and_a_value_error(error: type[Exception]) -> None:
    assert issubclass(error, RegardError)
    assert issubclass(error, ValueError)


def test_a_near_name_is_suggested() -> None:
    assert did_you_mean("lable_smoothing", ["dropout", "label_smoothing"]) == " Did you mean 'label_smoothing'?"


def test_otherwise_the_known_names_are_listed_in_order() -> None:
    assert did_you_mean("xyz", {"relu", "gelu"}) == " Known: gelu, relu."


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert did_you_mean("xyz", []) == ""


def test_names_may_come_from_a_generator() -> None:
    assert did_you_mean("rely", (name for name in ("relu", "gelu"))) == " Did you mean 'relu'?"
