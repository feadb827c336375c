import pytest
import tensorflow as tf

from components.calibrate.feature import _walk, feature_reader, feature_values
from components.core.errors import DataError


def example(**features):
    message = tf.train.Example()
    for name, value in features.items():
        kind = {int: "int64_list", bytes: "bytes_list", float: "float_list"}[type(value[0])]
        getattr(message.features.feature[name], kind).value.extend(value)
    return message.SerializeToString()


# The bytes that a reader must not be misled by: an entry `label` inside another feature's value.
DECOY = b"\n\x05label\x12\x05\x1a\x03\n\x01\x09"


@pytest.mark.parametrize(
    "value", [[0], [1, 2], [-1], [1 << 62], [b""], [b"shirt"], [b"\xff\x00"], [0.1], [float("inf"), -2.5], [b"x" * 300]]
)
@pytest.mark.parametrize("size", [0, 100, 127, 128, 20_000])
def test_feature_reader_equals_parser_when_values_and_sizes_vary(value, size):
    serialized = example(before=[b"x" * size], label=value, z=[DECOY + b"y" * size])
    expected = tf.train.Example.FromString(serialized).features.feature["label"].SerializeToString()
    assert feature_reader("label")(serialized) == expected
    # Both the shortcut and the parser behind it, not one alone.
    assert _walk(serialized, b"\n\x05label\x12") == expected


def test_feature_reader_reads_the_same_when_integers_are_not_packed():
    unpacked = b"\x1a\x04\x08\x03\x08\x04"
    entry = b"\n\x05label\x12" + bytes([len(unpacked)]) + unpacked
    features = b"\n" + bytes([len(entry)]) + entry
    assert feature_reader("label")(b"\n" + bytes([len(features)]) + features) == feature_reader("label")(
        example(label=[3, 4])
    )


def test_feature_reader_uses_the_parser_when_value_comes_before_key():
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[5])).SerializeToString()
    entry = b"\x12" + bytes([len(feature)]) + feature + b"\n\x05label"
    features = b"\n" + bytes([len(entry)]) + entry
    serialized = b"\n" + bytes([len(features)]) + features
    assert _walk(serialized, b"\n\x05label\x12") is None
    assert feature_values(feature_reader("label")(serialized)) == (5,)


def test_feature_reader_equals_parser_when_an_entry_holds_its_value_twice():
    values = [tf.train.Feature(int64_list=tf.train.Int64List(value=[n])).SerializeToString() for n in (5, 6)]
    entry = b"\n\x05label" + b"".join(b"\x12" + bytes([len(value)]) + value for value in values)
    features = b"\n" + bytes([len(entry)]) + entry
    serialized = b"\n" + bytes([len(features)]) + features
    expected = tf.train.Example.FromString(serialized).features.feature["label"].int64_list.value
    assert feature_values(feature_reader("label")(serialized)) == tuple(expected)
    assert tuple(expected) != (5,)


@pytest.mark.parametrize("serialized", [b"", example(other=[1]), example(other=[DECOY])])
def test_feature_reader_names_the_feature_when_it_is_missing(serialized):
    with pytest.raises(DataError, match=r"lacks the feature 'label' that the sample.*Remedy: specify a feature"):
        feature_reader("label")(serialized)


def test_feature_reader_names_the_feature_when_it_is_empty():
    message = tf.train.Example()
    message.features.feature["label"].int64_list.SetInParent()
    with pytest.raises(DataError, match="lacks the feature 'label'"):
        feature_reader("label")(message.SerializeToString())


def test_feature_reader_says_so_when_record_is_no_example():
    with pytest.raises(DataError, match=r"a record is not a tf\.Example"):
        feature_reader("label")(b"\n\xff\xff")


def test_feature_values_are_readable_when_of_any_kind():
    read = feature_reader("f")
    assert feature_values(read(example(f=[3, -4]))) == (3, -4)
    assert feature_values(read(example(f=[0.1]))) == (0.1,)
    assert feature_values(read(example(f=["Hemd ä".encode(), b"\xff"]))) == ("Hemd ä", "\\xff")
