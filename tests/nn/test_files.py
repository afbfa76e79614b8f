"""Model files: what is saved comes back; what is cut off, altered or foreign is told."""

import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import nn


def model():
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.LeakyReLU(0.2),
        nn.ModuleDict({"inner": nn.Sequential(nn.Linear(8, 8, bias=False), nn.GELU("tanh"))})[
            "inner"
        ],
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(
        v.dtype == b[n].dtype and np.array_equal(v, b[n]) for n, v in a.items()
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    cr.seed(0)
    net = model()
    nn.save(net, path, metadata={"classes": ["a", "b"]})
    return net, path


def test_a_model_comes_back_as_it_was(saved):
    net, path = saved
    other = nn.load(path)
    assert same(net, other)
    assert repr(net) == repr(other)
    assert np.array_equal(net(cr.ones((2, 4))), other(cr.ones((2, 4))))
    assert other.training


def test_mode_dtype_frozen_and_shared_parameters_come_back(tmp_path):
    net = model().to(cr.float64).eval()
    net[4].bias.requires_grad = False
    net[2][0].weight = nn.Parameter(np.eye(8))
    net.append(nn.Linear(3, 8))
    net.append(net[0])
    net[2].append(nn.Linear(8, 8))
    net[2][2].weight = net[2][0].weight
    nn.save(net, tmp_path / "m")
    other = nn.load(tmp_path / "m")
    assert same(net, other)
    assert not other[4].bias.requires_grad
    assert other[0].weight.requires_grad
    assert not other[1].training
    assert other[2][2].weight is other[2][0].weight
    assert other[6].weight is other[0].weight
    assert len(list(other.parameters())) == len(list(net.parameters()))


def test_a_change_after_construction_is_saved(tmp_path):
    net = model()
    net[1].negative_slope = 0.5
    net[0] = nn.Linear(4, 8, bias=False)
    nn.save(net, tmp_path / "m")
    assert nn.load(tmp_path / "m")[1].negative_slope == 0.5
    assert nn.load(tmp_path / "m")[0].bias is None


def test_loading_draws_no_random_numbers(saved):
    _, path = saved
    cr.seed(3)
    expected = nn.Linear(3, 3).weight.tolist()
    cr.seed(3)
    nn.load(path)
    assert nn.Linear(3, 3).weight.tolist() == expected


def test_metadata_is_read_back_without_the_arrays(saved):
    _, path = saved
    assert nn.read_metadata(path) == {"classes": ["a", "b"]}


def test_any_safetensors_reader_reads_the_arrays(saved):
    net, path = saved
    arrays = load_file(path)
    assert all(np.array_equal(v, arrays[n]) for n, v in net.state_dict().items())


def test_a_bare_file_gives_a_dict_that_loads_by_name(tmp_path):
    net, path = model(), tmp_path / "bare.safetensors"
    save_file(net.state_dict(), path, metadata={"format": "pt"})
    arrays = nn.load(path)
    assert isinstance(arrays, dict)
    other = model()
    other.load_state_dict(arrays)
    assert same(net, other)
    assert nn.read_metadata(path) == {"format": "pt"}


def test_a_dict_of_arrays_is_saved_with_checksums(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": cr.asarray([1, 2])}
    nn.save(arrays, tmp_path / "m")
    found = nn.load(tmp_path / "m")
    assert found["a"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert found["b"].tolist() == [1, 2]
    found["a"][0, 0] = 7.0  # the caller's own memory
    raw = bytearray((tmp_path / "m").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "m").write_bytes(raw)
    with pytest.raises(cr.CheckpointError, match="is not as it was written"):
        nn.load(tmp_path / "m")


@settings(max_examples=40)
@given(
    arrays=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__"),
        hnp.arrays(
            st.sampled_from(["bool", "int8", "uint16", "int64", "float16", "float64", "complex64"]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        ),
        max_size=4,
    )
)
def test_any_arrays_come_back_bit_for_bit(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "m"
    nn.save(arrays, path)
    found = nn.load(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


class Own(nn.Module):
    def __init__(self, width):
        self.fc = nn.Linear(width, 1)

    def forward(self, x):
        return self.fc(x)


def test_a_users_class_is_not_made_again_and_its_weights_load(tmp_path):
    net, path = nn.Sequential(nn.ReLU(), Own(3)), tmp_path / "own.safetensors"
    nn.save(net, path)
    with pytest.raises(cr.CheckpointError) as error:
        nn.load(path)
    assert "'1' of the model is a Own" in str(error.value)
    assert "model.load_state_dict(nn.read_arrays(path))" in str(error.value)
    other = nn.Sequential(nn.ReLU(), Own(3))
    other.load_state_dict(nn.read_arrays(path))
    assert same(net, other)


def test_a_subclass_of_a_layer_is_a_users_class(tmp_path):
    class Linear(nn.Linear):
        pass

    nn.save(Linear(1, 1), tmp_path / "m")
    with pytest.raises(cr.CheckpointError, match="a class of your own"):
        nn.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["save", "Module", "init", "Layer", "NoSuchLayer", "__init__"])
def test_a_file_names_only_layers(saved, name):
    _, path = saved
    forge(path, lambda content: content["architecture"].update({"model": {"class": name}}))
    with pytest.raises(cr.CheckpointError, match="saved by another version"):
        nn.load(path)


def forge(path, change):
    """Change the description in a file as one who knows the checksum would."""
    import zlib

    arrays = load_file(path)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    content = json.loads(header["__metadata__"]["chainrule"])
    change(content)
    text = json.dumps(content)
    checksum = f"{zlib.crc32(text.encode()):08x}"
    save_file(arrays, path, metadata={"chainrule": text, "chainrule_checksum": checksum})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"in_features": 5, "out_features": 8}, r"'0.weight' has the shape \(8, 4\)"),
        ({"in_features": -1, "out_features": 8}, "cannot be made again: in_features is a whole"),
        ({"in_features": 4}, "cannot be made again"),
        ({"in_features": 4, "out_features": 8, "more": 1}, "cannot be made again"),
    ],
)
def test_a_description_that_does_not_fit_is_told(saved, arguments, told):
    _, path = saved
    forge(
        path,
        lambda c: c["architecture"]["model"]["modules"]["0"].update({"arguments": arguments}),
    )
    with pytest.raises(cr.CheckpointError, match=told):
        nn.load(path)


def test_a_newer_format_is_told(saved):
    _, path = saved
    forge(path, lambda content: content.update({"version": 99}))
    with pytest.raises(cr.CheckpointError, match="version 99"):
        nn.load(path)


def test_a_file_cut_off_anywhere_is_told(saved):
    _, path = saved
    raw = path.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    for cut in [*range(0, 12), *range(12, header, 37), *range(header, len(raw), 13), len(raw) - 1]:
        path.write_bytes(raw[:cut])
        for read in (nn.load, nn.read_arrays, nn.read_metadata):
            with pytest.raises(cr.CheckpointError) as error:
                read(path)
            text = str(error.value)
            assert str(path) in text
            assert "cut off" in text
            assert str(cut) in text
        if cut >= header:
            assert "weight" in text or "bias" in text


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80, 0xFF])
def test_a_flipped_byte_anywhere_is_told(saved, flip):
    _, path = saved
    raw = path.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    places = [*range(0, 16), *range(16, header, 3), *range(header, len(raw), 11)]
    for place in places:
        altered = bytearray(raw)
        altered[place] ^= flip
        path.write_bytes(altered)
        with pytest.raises(cr.CheckpointError, match=r"model\.safetensors"):
            nn.load(path)


def test_an_altered_tensor_is_named(saved):
    _, path = saved
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1  # safetensors puts the tensors of one dtype in the order of their names
    path.write_bytes(raw)
    with pytest.raises(cr.CheckpointError, match=r"'4\.weight' is not as it was written"):
        nn.load(path)


def test_foreign_files_are_told_apart(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(cr.CheckpointError, match=r"pickle.*safetensors.torch.save_file"):
        nn.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x" * 100)
    with pytest.raises(cr.CheckpointError, match="opening one runs code"):
        nn.load(path)
    path.write_text("a,b,c\n1,2,3\n" * 10)
    with pytest.raises(cr.CheckpointError, match="not a safetensors file"):
        nn.load(path)
    path.write_text("")
    with pytest.raises(cr.CheckpointError, match="it has 0 bytes"):
        nn.load(path)


def test_a_missing_file_or_a_folder_is_told(saved):
    _, path = saved
    with pytest.raises(cr.CheckpointError, match=r"no such file; in its folder is model\."):
        nn.load(path.with_name("modle.safetensors"))
    with pytest.raises(cr.CheckpointError, match="this is a folder"):
        nn.load(path.parent)
    with pytest.raises(cr.CheckpointError, match="no such file"):
        nn.load(path.parent / "nowhere" / "m")


@pytest.mark.parametrize(
    ("thing", "options", "told"),
    [
        ([1, 2], {}, "not list"),
        ({"a": np.zeros(2, np.complex128)}, {}, "'a' is complex128"),
        ({"a": np.array(["x"])}, {}, "'a' is"),
        (nn.ReLU(), {"metadata": {"f": print}}, "JSON"),
    ],
)
def test_what_cannot_be_saved_is_told_and_leaves_nothing(tmp_path, thing, options, told):
    with pytest.raises(cr.CheckpointError, match=told):
        nn.save(thing, tmp_path / "m", **options)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(saved, tmp_path):
    net, _ = saved
    with pytest.raises(cr.CheckpointError, match="there is no folder"):
        nn.save(net, tmp_path / "nowhere" / "m")
    with pytest.raises(cr.CheckpointError, match="it is a folder"):
        nn.save(net, tmp_path)


def test_a_failure_while_writing_leaves_the_old_file(saved, monkeypatch):
    _, path = saved
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cr.CheckpointError, match=r"No space left on device.*is as it was"):
        nn.save(nn.Linear(1, 1), path)
    monkeypatch.undo()

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nn.save(nn.Linear(1, 1), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_it_is_synced_before_it_is_renamed(saved, monkeypatch):
    net, path = saved
    events = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("sync folder" if folder else "sync file")
        fsync(descriptor)

    def note_replace(source, target):
        events.append("rename")
        assert Path(source).parent == Path(target).parent
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    nn.save(net, path)
    assert events == ["sync file", "rename", "sync folder"]


def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path):
    path = tmp_path / "m.safetensors"
    code = (
        "from chainrule import nn\n"
        "import sys\n"
        "net = nn.Linear(400, 400)\n"
        "nn.save(net, sys.argv[1])\n"
        "print('saved', flush=True)\n"
        "while True: nn.save(net, sys.argv[1])\n"
    )
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "saved\n"
        child.kill()
        child.wait()
        child.stdout.close()
        assert nn.load(path).in_features == 400


def test_saving_heeds_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        nn.save(nn.Linear(1, 1), tmp_path / "m")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640
