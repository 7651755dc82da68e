"""The loader: the same batches from any number of workers, on any number of processes."""

import numpy as np
import pytest
from pictures import MIX, RECIPE, encode, make_picture, write_dataset

from ppcls.data.loader import build_loader
from ppcls.data.transform import Pipeline
from ppcls.errors import DataError

EVAL_OPS = [
    "DecodeImage",
    {"ResizeImage": {"size": 24}},
    {"NormalizeImage": {"order": ""}},
    "ToCHWImage",
]


def section(folder, transform_ops, *, workers=0, batch_size=8, mix=None, **dataset):
    return {
        "dataset": {
            "name": "ImageNetDataset",
            "image_root": str(folder),
            "cls_label_path": str(folder / "list.txt"),
            "transform_ops": transform_ops,
            **dataset,
        },
        "sampler": {
            "name": "DistributedBatchSampler",
            "batch_size": batch_size,
            "shuffle": transform_ops is RECIPE,
            "drop_last": False,
        },
        "loader": {"num_workers": workers, "use_shared_memory": True},
        **({"batch_transform_ops": mix} if mix else {}),
    }


def arrays(loader) -> "list[tuple[np.ndarray, ...]]":
    return [tuple(tensor.numpy() for tensor in batch) for batch in loader]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected):
        for array, reference in zip(batch, other):
            assert array.dtype == reference.dtype
            assert np.array_equal(array, reference)


def two_epochs(loader):
    batches = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        batches += arrays(loader)
    loader.close()
    return batches


@pytest.fixture(scope="module")
def reference(picture_dataset):
    return two_epochs(build_loader(section(picture_dataset, RECIPE, mix=MIX), "Train", 5, seed=9))


def test_contract_of_a_batch(reference, picture_dataset):
    assert len(reference) == 10
    images, labels, indices = reference[0]
    assert (images.shape, images.dtype) == ((8, 3, 48, 48), np.float32)
    assert (labels.shape, labels.dtype) == ((8, 5), np.float32)
    assert (indices.shape, indices.dtype) == ((8,), np.int64)
    for epoch in (reference[:5], reference[5:]):
        assert sorted(np.concatenate([indices for _, _, indices in epoch])) == list(range(37))
    plain = build_loader(section(picture_dataset, EVAL_OPS), "Eval", 5)
    images, labels, indices = arrays(plain)[-1]
    assert images.shape == (5, 3, 24, 24)
    assert (labels.shape, labels.dtype) == ((5,), np.int64)
    assert np.array_equal(labels, indices % 5)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("use_shared_memory", [True, False])
def test_same_batches_from_any_number_of_workers(
    picture_dataset, reference, workers, use_shared_memory
):
    spec = section(picture_dataset, RECIPE, workers=workers, mix=MIX)
    spec["loader"]["use_shared_memory"] = use_shared_memory
    assert_same(two_epochs(build_loader(spec, "Train", 5, seed=9)), reference)


def test_batch_operators_may_stand_in_the_dataset(picture_dataset, reference):
    spec = section(picture_dataset, RECIPE, batch_transform_ops=MIX)
    assert_same(two_epochs(build_loader(spec, "Train", 5, seed=9)), reference)


def test_seed_and_epoch_change_the_batches(picture_dataset, reference):
    other = build_loader(section(picture_dataset, RECIPE, mix=MIX), "Train", 5, seed=10)
    assert not np.array_equal(next(iter(other)).images.numpy(), reference[0][0])
    assert not np.array_equal(reference[5][0], reference[0][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_in_the_middle_of_an_epoch(picture_dataset, reference, workers):
    spec = section(picture_dataset, RECIPE, workers=workers, mix=MIX)
    loader = build_loader(spec, "Train", 5, seed=9)
    loader.set_epoch(1, start_step=2)
    assert_same(arrays(loader), reference[7:])
    assert len(loader) == 5
    loader.close()


def test_training_shards_together_are_the_single_process_samples(picture_dataset, reference):
    """Two processes with half the batch size see, together, what one sees, image for image."""
    whole = build_loader(section(picture_dataset, RECIPE), "Train", 5, seed=9)
    images, _, indices = arrays(whole)[0]
    expected = dict(zip(indices.tolist(), images))
    seen = {}
    for rank in (0, 1):
        shard = build_loader(
            section(picture_dataset, RECIPE, batch_size=4), "Train", 5, 9, rank, world_size=2
        )
        images, _, indices = arrays(shard)[0]
        seen.update(zip(indices.tolist(), images))
    assert seen.keys() == expected.keys()
    assert all(np.array_equal(seen[index], expected[index]) for index in expected)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_shards_cover_the_dataset_exactly(picture_dataset, world_size):
    whole = arrays(build_loader(section(picture_dataset, EVAL_OPS), "Eval", 5))
    shards = [
        build_loader(section(picture_dataset, EVAL_OPS), "Eval", 5, 0, rank, world_size)
        for rank in range(world_size)
    ]
    for rank, shard in enumerate(shards):
        assert_same(arrays(shard), whole[rank::world_size])
        assert len(shard) == len(whole[rank::world_size])


def break_image(folder, index: int):
    path = folder / f"picture {index}.jpg"
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_stops_the_run_and_is_named(tmp_path, workers):
    write_dataset(tmp_path, 20)
    break_image(tmp_path, 11)
    loader = build_loader(section(tmp_path, EVAL_OPS, workers=workers), "Eval", 5)
    with pytest.raises(DataError, match=r"picture 11\.jpg: the JPEG file is truncated") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_are_left_out_named_and_never_replaced(tmp_path, workers, caplog):
    write_dataset(tmp_path, 20)
    break_image(tmp_path, 11)
    spec = section(tmp_path, EVAL_OPS, workers=workers, on_error="skip")
    loader = build_loader(spec, "Eval", 5)
    with caplog.at_level("WARNING", logger="ppcls"):
        for _ in range(2):
            batches = arrays(loader)
            assert [len(indices) for _, _, indices in batches] == [8, 7, 4]
            indices = np.concatenate([indices for _, _, indices in batches])
            assert sorted(indices) == [index for index in range(20) if index != 11]
    loader.close()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "picture 11.jpg: the JPEG file is truncated" in warnings[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_unreadable_images_stop_the_run(tmp_path, workers):
    write_dataset(tmp_path, 20)
    for index in (2, 9, 17):
        break_image(tmp_path, index)
    spec = section(tmp_path, EVAL_OPS, workers=workers, on_error="skip", max_error_ratio=0.1)
    with pytest.raises(DataError, match="3 of 20 images cannot be read, more than"):
        list(build_loader(spec, "Eval", 5))


def test_a_batch_without_any_readable_image_stops_the_run(tmp_path):
    write_dataset(tmp_path, 4)
    for index in range(4):
        break_image(tmp_path, index)
    spec = section(tmp_path, EVAL_OPS, on_error="skip", max_error_ratio=1.0)
    with pytest.raises(DataError, match=r"no image of a batch can be used.*picture 0\.jpg"):
        list(build_loader(spec, "Eval", 5))


def test_images_of_different_shapes_are_named(tmp_path):
    write_dataset(tmp_path, 2)
    (tmp_path / "picture 1.jpg").write_bytes(encode(make_picture(90, 60), "JPEG"))
    ops = ["DecodeImage", {"ResizeImage": {"resize_short": 32}}, "ToCHWImage"]
    with pytest.raises(DataError, match=r"picture 0.*\(3, 32, 37\).*picture 1.*\(3, 32, 48\)"):
        list(build_loader(section(tmp_path, ops), "Eval", 5))


def test_surprises_of_an_operator_name_the_file(tmp_path, monkeypatch):
    write_dataset(tmp_path, 1)
    loader = build_loader(section(tmp_path, EVAL_OPS), "Eval", 5)
    surprise = Pipeline([lambda image, rng: np.zeros(3)[int(image[0]) + 9]])
    monkeypatch.setattr(loader.dataset, "transform", surprise)
    with pytest.raises(DataError, match=r"picture 0\.jpg: IndexError"):
        list(loader)


def test_a_dataset_smaller_than_a_batch(tmp_path):
    write_dataset(tmp_path, 3)
    loader = build_loader(section(tmp_path, EVAL_OPS, workers=2), "Eval", 5)
    assert [images.shape[0] for images, _, _ in arrays(loader)] == [3]
    loader.close()
