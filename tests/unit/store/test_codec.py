import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from disdel.errors import StoreError
from disdel.store.codec import encode, encoded, encoded_rows, read_header, read_tensors
from disdel.store.memory_store import MemoryStore

CODES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
dtypes = st.sampled_from([np.dtype(code) for code in CODES])
arrays = npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
)


def stored(data):
    store = MemoryStore()
    store.put("blob", data)
    return store


@given(
    tensors=st.dictionaries(names.filter(lambda name: name != "__metadata__"), arrays, max_size=6)
)
def test_what_is_encoded_is_read_back(tensors):
    read = read_tensors(stored(encode(tensors)), "blob")
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


@given(
    tensors=st.dictionaries(names.filter(lambda name: name != "__metadata__"), arrays, max_size=4)
)
def test_the_header_says_where_every_tensor_is(tensors):
    data = encode(tensors, {"worker": "3"})
    header = read_header(stored(data).existing("blob"))
    assert header.metadata["worker"] == "3"
    assert len(header.raw) + header.data_bytes == len(data)
    for tensor in header.tensors:
        raw = data[len(header.raw) + tensor.start : len(header.raw) + tensor.stop]
        assert raw == tensors[tensor.name].tobytes()


@given(
    columns=st.dictionaries(
        names.filter(lambda name: name != "__metadata__"),
        st.tuples(dtypes, npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=600)),
        min_size=1,
        max_size=3,
    ),
    length=st.integers(0, 9),
    data=st.data(),
)
def test_rows_are_encoded_as_if_they_were_all_there_is(columns, length, data):
    tensors = {
        name: np.resize(np.arange(251), (length, *shape)).astype(dtype)
        for name, (dtype, shape) in columns.items()
    }
    ends = st.integers(0, length)
    picked = st.lists(st.integers(0, max(0, length - 1)), max_size=length).map(np.array)
    rows = data.draw(st.builds(slice, ends, ends) | picked.map(lambda p: p.astype(np.intp)))
    store = MemoryStore()
    store.put_stream("blob", encoded_rows(tensors, rows))
    read = read_tensors(store, "blob")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor[rows])
        assert read[name].dtype == tensor.dtype
        assert read[name].flags.aligned


@given(
    tensors=st.dictionaries(names.filter(lambda name: name != "__metadata__"), arrays, max_size=4)
)
def test_other_readers_open_it(tensors):
    read = safetensors.numpy.load(encode(tensors, {"worker": "3"}))
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()


def test_tensors_that_are_not_contiguous():
    data = encode({"transposed": np.arange(6).reshape(2, 3).T, "every other": np.arange(6)[::2]})
    read = read_tensors(stored(data), "blob")
    assert read["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read["every other"].tolist() == [0, 2, 4]


def test_a_state_is_written_as_views_of_its_tensors():
    weights = np.arange(6, dtype=np.float32)
    pieces = list(encoded({"weights": weights}))
    assert b"".join(pieces) == encode({"weights": weights})
    assert np.shares_memory(np.frombuffer(pieces[-1], np.float32), weights)


def test_a_dtype_that_cannot_be_stored_is_named():
    with pytest.raises(StoreError, match="tensor z has dtype complex64"):
        encode({"z": np.zeros(2, np.complex64)})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is not safetensors"),
        (b"\x05\x00\x00\x00\x00\x00\x00\x00{}", "header ends after the blob"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[x", "is not safetensors"),
        (safetensors.numpy.save({"a": np.zeros(2)}), "has format None and this disdel reads '1'"),
        (encode({"a": np.zeros(2)}) + b"more", "and its header describes"),
    ],
)
def test_what_cannot_be_read_is_told(data, told):
    with pytest.raises(StoreError, match=told):
        read_tensors(stored(data), "blob")


def test_a_dtype_that_numpy_lacks_is_named():
    data = encode({"a": np.zeros(2, np.float16)}).replace(b'"F16"', b'"BF16"')
    length = int.from_bytes(data[:8], "little") + 1
    with pytest.raises(StoreError, match="tensor a has dtype BF16, which numpy lacks"):
        read_tensors(stored(length.to_bytes(8, "little") + data[8:]), "blob")
